"""Node.js: ioredis, node-redis, Valkey GLIDE, and BullMQ, over a real cluster."""

import unittest

import programs
from cluster import at_cluster

pointsman = None


def setUpModule():
    global pointsman
    _, pointsman = at_cluster()


class Node(programs.Recorded):
    def run_library(self, program, golden, major=0, **environment):
        node = programs.node(major)
        recorder = self.record(pointsman.port)
        programs.run(self, recorder.port, [node, programs.NODE / program], **environment)
        programs.judge_start_up(self, recorder, golden)

    def test_t28_ioredis(self):
        self.run_library("ioredis.mjs", "ioredis-5")

    def test_t28_ioredis_6(self):
        self.run_library("ioredis.mjs", "ioredis-6", 20, POINTSMAN_LIBRARY="ioredis-6")

    def test_t28_node_redis_resp2(self):
        self.run_library("node_redis.mjs", "node-redis-5-resp2")

    def test_t28_node_redis_resp3(self):
        self.run_library("node_redis.mjs", "node-redis-5-resp3", POINTSMAN_PROTOCOL="3")

    def test_t28_node_redis_6(self):
        self.run_library("node_redis.mjs", "node-redis-6", 20, POINTSMAN_LIBRARY="redis-6", POINTSMAN_PROTOCOL="3")

    def test_t28_glide_resp2(self):
        self.run_library("glide.mjs", "glide-node-resp2")

    def test_t28_glide_resp3(self):
        self.run_library("glide.mjs", "glide-node-resp3", POINTSMAN_PROTOCOL="3")

    def test_t28_bullmq(self):
        node = programs.node()
        recorder = self.record(pointsman.port)
        programs.run(self, recorder.port, [node, programs.NODE / "bullmq.mjs"])
        programs.judge_work(self, recorder, "bullmq")


if __name__ == "__main__":
    unittest.main()
