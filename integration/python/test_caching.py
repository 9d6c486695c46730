"""redis-py's client-side cache and its MONITOR, over a real cluster."""

import threading
import unittest
from unittest import mock

import redis
import redis.connection
from cluster import at_cluster
from redis.cache import CacheConfig
from waiting import until

pointsman = None


def setUpModule():
    global pointsman
    _, pointsman = at_cluster()
    # It asks for 7.4 by number, and Pointsman calls itself 7.2; what it needs came with 6.0.
    patch = mock.patch.object(redis.connection.CacheProxyConnection, "MIN_ALLOWED_VERSION", "7.2.0")
    patch.start()
    unittest.addModuleCleanup(patch.stop)


class Caching(unittest.TestCase):
    def setUp(self):
        self.cached = redis.Redis(
            port=pointsman.port, protocol=3, decode_responses=True, cache_config=CacheConfig(max_size=1000)
        )
        self.plain = redis.Redis(port=pointsman.port, decode_responses=True)
        self.addCleanup(self.plain.close)
        self.addCleanup(self.cached.close)

    def test_t101_reads_come_from_the_cache_until_another_client_writes(self):
        for n in range(50):
            self.plain.set(f"csc:{n}", n)
        for n in range(50):
            self.assertEqual(self.cached.get(f"csc:{n}"), str(n))
        self.assertEqual(self.cached.mget("csc:1", "csc:2", "csc:3"), ["1", "2", "3"])
        self.assertEqual(self.cached.get_cache().size, 51)
        with mock.patch.object(
            redis.connection.Connection, "send_packed_command", side_effect=AssertionError("asked the server")
        ):
            for n in range(50):
                self.assertEqual(self.cached.get(f"csc:{n}"), str(n))
        for n in range(50):
            self.plain.set(f"csc:{n}", n + 1)
        for n in range(50):
            until("the new value is read", lambda: self.cached.get(f"csc:{n}") == str(n + 1))
        until("MGET too", lambda: self.cached.mget("csc:1", "csc:2", "csc:3") == ["2", "3", "4"])

    def test_t102_flushall_empties_the_cache(self):
        self.plain.set("csc:flush", "1")
        self.assertEqual(self.cached.get("csc:flush"), "1")
        self.plain.flushall()
        until("the key is gone", lambda: self.cached.get("csc:flush") is None)

    def test_t101_no_stale_value_under_a_hammering_writer(self):
        keys = [f"csc:hammer:{n}" for n in range(20)]
        stop = threading.Event()

        def hammer():
            with redis.Redis(port=pointsman.port) as writer:
                while not stop.is_set():
                    with writer.pipeline(transaction=False) as pipeline:
                        for key in keys:
                            pipeline.incr(key)
                        pipeline.execute()

        writer = threading.Thread(target=hammer)
        writer.start()
        try:
            for _ in range(100):
                for key in keys:
                    self.cached.get(key)
        finally:
            stop.set()
            writer.join()
        for key in keys:
            until("the last value is read", lambda: self.cached.get(key) == self.plain.get(key))

    def test_monitor(self):
        with self.plain.monitor() as monitor:
            self.plain.set("csc:seen", 'a "b" \x01')
            for line in monitor.listen():
                if line["command"].startswith("SET csc:seen"):
                    break
            self.assertEqual((line["db"], line["client_address"]), (0, "127.0.0.1"))


if __name__ == "__main__":
    unittest.main()
