"""redis-py's cluster client, blocking and asyncio, at the proxy as a cluster of one node (cluster_facade)."""

import unittest

import redis
import redis.asyncio
from cluster import PointsmanAtCluster, at_cluster
from proxy import free_ports

cluster = None
pointsman = None


def setUpModule():
    global cluster, pointsman
    cluster, pointsman = at_cluster("cluster_facade: true")


class Blocking:
    """The same tests for both protocol versions; see the classes at the end."""

    protocol = None

    def setUp(self):
        self.client = redis.RedisCluster(
            host="127.0.0.1", port=pointsman.port, protocol=self.protocol, decode_responses=True
        )
        self.client.flushall()

    def tearDown(self):
        self.client.close()

    def test_the_proxy_is_the_only_node(self):
        (node,) = self.client.get_nodes()
        self.assertEqual((node.host, node.port, node.server_type), ("127.0.0.1", pointsman.port, "primary"))
        self.assertEqual(len(self.client.cluster_slots()), 1)

    def test_keys_over_all_slots(self):
        client = self.client
        values = {f"key:{n}": str(n) for n in range(200)}
        for key, value in values.items():
            self.assertTrue(client.set(key, value))
        self.assertEqual([client.get(key) for key in values], list(values.values()))
        self.assertTrue(client.mset_nonatomic(values))
        self.assertEqual(client.mget_nonatomic(list(values)), list(values.values()))
        self.assertEqual(client.dbsize(), 200)
        self.assertEqual(sorted(client.scan_iter(count=50)), sorted(values))
        self.assertEqual(client.delete(*values), 200)

    def test_pipeline(self):
        with self.client.pipeline() as pipe:
            for n in range(200):
                pipe.incrby(f"counter:{n}", n)
            self.assertEqual(pipe.execute(), list(range(200)))

    def test_transaction(self):
        with self.client.pipeline(transaction=True) as pipe:
            pipe.incrby("{t}:a", 41)
            pipe.incr("{t}:a")
            self.assertEqual(pipe.execute(), [41, 42])

    def test_scripts_and_blocking(self):
        client = self.client
        self.assertEqual(client.eval("return redis.call('INCR', KEYS[1])", 1, "script"), 1)
        client.rpush("list", "element")
        self.assertEqual(list(client.blpop(["list"], timeout=5)), ["list", "element"])

    def test_pubsub(self):
        subscriber = self.client.pubsub()
        subscriber.subscribe("channel:1", "channel:2")
        for _ in range(2):
            self.assertEqual(subscriber.get_message(timeout=5)["type"], "subscribe")
        self.client.publish("channel:2", "hello")
        message = subscriber.get_message(timeout=5)
        self.assertEqual((message["type"], message["channel"], message["data"]), ("message", "channel:2", "hello"))
        subscriber.close()

    def test_sharded_pubsub(self):
        subscriber = self.client.pubsub()
        subscriber.ssubscribe("shard:1")
        self.assertEqual(subscriber.get_sharded_message(timeout=5)["type"], "ssubscribe")
        self.client.spublish("shard:1", "hello")
        message = subscriber.get_sharded_message(timeout=5)
        self.assertEqual((message["type"], message["data"]), ("smessage", "hello"))
        subscriber.close()


class BlockingResp2(Blocking, unittest.TestCase):
    protocol = 2


class BlockingResp3(Blocking, unittest.TestCase):
    protocol = 3


class Siblings(unittest.TestCase):
    """A client that lost its proxy goes on with another that it was told of."""

    def test_a_client_goes_on_with_a_sibling(self):
        with free_ports(2) as ports:
            siblings = ", ".join(f'"127.0.0.1:{port}"' for port in ports)
            keys = ("cluster_facade: true", f"siblings: [{siblings}]")
            one = PointsmanAtCluster(cluster, *keys, port=ports[0])
            other = PointsmanAtCluster(cluster, *keys, port=ports[1])
            try:
                client = redis.RedisCluster(host="127.0.0.1", port=ports[0], decode_responses=True)
                roles = {node.port: node.server_type for node in client.get_nodes()}
                self.assertEqual(roles, {ports[0]: "primary", ports[1]: "replica"})
                self.assertTrue(client.set("sibling", "1"))
            finally:
                one.stop()
            try:
                self.assertEqual(client.incr("sibling"), 2)
                self.assertEqual([node.port for node in client.get_primaries()], ports[1:])
                self.assertEqual(client.get("sibling"), "2")
                client.delete("sibling")
                client.close()
            finally:
                other.stop()


class Asyncio(unittest.IsolatedAsyncioTestCase):
    async def test_keys_and_pipelines(self):
        client = redis.asyncio.RedisCluster(host="127.0.0.1", port=pointsman.port, decode_responses=True)
        try:
            for n in range(50):
                await client.set(f"async:{n}", n)
            pipe = client.pipeline()
            for n in range(50):
                pipe.get(f"async:{n}")
            self.assertEqual(await pipe.execute(), [str(n) for n in range(50)])
        finally:
            await client.aclose()


if __name__ == "__main__":
    unittest.main()
