"""Python's client libraries over a real cluster: redis-py, valkey-py, Valkey GLIDE; blocking and asyncio,
RESP2 and RESP3."""

import asyncio
import threading
import unittest

import glide
import programs
import redis
import redis.asyncio
import valkey
from cluster import at_cluster

SECONDS = 20
BUMP = "return redis.call('incrby', KEYS[1], ARGV[1])"

pointsman = None


def setUpModule():
    global pointsman
    _, pointsman = at_cluster()


class Blocking:
    """What redis-py and its fork have in common; see the classes at the end."""

    library = None
    protocol = None
    golden = None

    def setUp(self):
        self.options = {"protocol": self.protocol, "decode_responses": True, "socket_timeout": SECONDS}
        self.client = self.library.Redis(port=pointsman.port, **self.options)
        self.addCleanup(self.client.close)

    def key(self, name):
        """A key of this test alone, without a hash tag."""
        key = f"{self.id()}:{name}"
        self.client.delete(key)
        return key

    def test_t28_start_up(self):
        recorder = self.record(pointsman.port)
        with self.library.Redis(port=recorder.port, client_name="golden", db=0, **self.options) as client:
            self.assertIsNone(client.get(programs.MARKER))
        programs.judge_start_up(self, recorder, self.golden)

    def test_keys_over_all_slots(self):
        values = {f"{self.id()}:{n}": str(n) for n in range(300)}
        self.assertTrue(self.client.mset(values))
        self.assertEqual(self.client.mget([*values, "nothing"]), [*values.values(), None])
        self.assertEqual(set(self.client.scan_iter(match=f"{self.id()}:*", count=40)), set(values))
        self.assertEqual(self.client.unlink(*values), 300)

    def test_types(self):
        name = self.key("hash")
        self.client.hset(name, mapping={"a": "1", "b": "2"})
        self.assertEqual(self.client.hgetall(name), {"a": "1", "b": "2"})
        name = self.key("zset")
        self.client.zadd(name, {"one": 1.5, "two": float("inf")})
        self.assertEqual(self.client.zscore(name, "one"), 1.5)
        pairs = self.client.zrange(name, 0, -1, withscores=True)
        self.assertEqual([tuple(pair) for pair in pairs], [("one", 1.5), ("two", float("inf"))])
        name = self.key("set")
        self.client.sadd(name, "a", "b")
        self.assertEqual(set(self.client.smembers(name)), {"a", "b"})

    def test_pipelines(self):
        pipeline = self.client.pipeline(transaction=False)
        for n in range(500):
            pipeline.set(f"pl:{n}", n).get(f"pl:{n}")
        self.assertEqual(pipeline.execute()[1::2], [str(n) for n in range(500)])
        pipeline = self.client.pipeline(transaction=True)
        pipeline.set("{pl}:m", 1).incr("{pl}:m").get("{pl}:m")
        self.assertEqual(pipeline.execute(), [True, 2, "2"])

    def test_watched_keys(self):
        name = self.key("counter")
        failures = []

        def add():
            try:
                with self.library.Redis(port=pointsman.port, **self.options) as client:
                    for _ in range(25):
                        client.transaction(
                            lambda pipe: (
                                value := int(pipe.get(name) or 0),
                                pipe.multi(),
                                pipe.set(name, value + 1),
                            ),
                            name,
                        )
            except Exception as error:  # told in the test's own thread
                failures.append(error)

        threads = [threading.Thread(target=add) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertEqual(self.client.get(name), "100")

    def test_scripts_are_found_again(self):
        bump = self.client.register_script(BUMP)
        name = self.key("script")
        self.assertEqual(bump(keys=[name], args=[2]), 2)
        self.assertTrue(self.client.script_flush())
        self.assertEqual(bump(keys=[name], args=[3]), 5)
        pipeline = self.client.pipeline(transaction=True)
        bump(keys=[name], args=[4], client=pipeline)
        self.assertEqual(pipeline.execute(), [9])

    def test_locks(self):
        name = self.key("lock")
        lock = self.client.lock(name, timeout=10)
        other = self.client.lock(name, timeout=10, blocking_timeout=0.05)
        self.assertTrue(lock.acquire(blocking=False))
        self.assertFalse(other.acquire())
        self.assertTrue(lock.extend(10))
        self.assertTrue(lock.reacquire())
        lock.release()
        with self.client.lock(name, timeout=10, blocking_timeout=5):
            self.assertTrue(self.client.exists(name))

    def test_stream_groups(self):
        name = self.key("stream")
        self.client.xgroup_create(name, "g", mkstream=True)
        ids = [self.client.xadd(name, {"n": n}) for n in range(3)]
        read = self.client.xreadgroup("g", "me", {name: ">"}, count=2, block=1000)
        entries = dict(read)[name] if isinstance(read, list) else read[name][0]
        self.assertEqual([entry[0] for entry in entries], ids[:2])
        self.assertEqual(self.client.xpending(name, "g")["pending"], 2)
        self.assertEqual(self.client.xack(name, "g", *ids[:2]), 2)
        claimed = self.client.xautoclaim(name, "g", "other", 0)
        self.assertEqual(claimed[1], [])
        self.assertEqual(self.client.xinfo_groups(name)[0]["name"], "g")

    def test_t54_waiting(self):
        name = self.key("queue")
        with self.library.Redis(port=pointsman.port, **self.options) as other:
            timer = threading.Timer(0.1, other.rpush, (name, "job"))
            timer.start()
            self.assertEqual(list(self.client.blpop(name, timeout=SECONDS / 2)), [name, "job"])
            timer.join()
        self.assertIsNone(self.client.blpop(name, timeout=0.05))
        self.assertIsNone(self.client.bzpopmin(self.key("zset"), timeout=0.05))
        self.assertIn(self.client.xread({self.key("none"): "$"}, block=20), ([], {}, None))

    def test_a_pool_that_is_used_up(self):
        pool = self.library.BlockingConnectionPool(port=pointsman.port, max_connections=2, timeout=SECONDS, **self.options)
        client = self.library.Redis(connection_pool=pool)
        name = self.key("pool")
        threads = [threading.Thread(target=lambda: [client.incr(name) for _ in range(50)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(self.client.get(name), "400")
        pool.disconnect()


class RedisPyResp2(Blocking, programs.Recorded):
    library, protocol, golden = redis, 2, "redis-py-resp2"


class RedisPyResp3(Blocking, programs.Recorded):
    library, protocol, golden = redis, 3, "redis-py-resp3"


class ValkeyPyResp2(Blocking, programs.Recorded):
    library, protocol, golden = valkey, 2, "valkey-py-resp2"


class ValkeyPyResp3(Blocking, programs.Recorded):
    library, protocol, golden = valkey, 3, "valkey-py-resp3"


class Asyncio(programs.Recorded, unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        # The test case's loop reports slow steps; on a busy machine that is only noise.
        asyncio.get_running_loop().slow_callback_duration = 60

    async def test_t28_start_up(self):
        for protocol in (2, 3):
            with self.subTest(protocol=protocol):
                recorder = self.record(pointsman.port)
                async with redis.asyncio.Redis(port=recorder.port, protocol=protocol, client_name="golden") as client:
                    await client.get(programs.MARKER)
                programs.judge_start_up(self, recorder, f"redis-py-asyncio-resp{protocol}")

    async def test_transactions_scripts_and_waiting(self):
        for protocol in (2, 3):
            with self.subTest(protocol=protocol):
                async with redis.asyncio.Redis(
                    port=pointsman.port, protocol=protocol, decode_responses=True
                ) as client:
                    async with client.pipeline(transaction=True) as pipeline:
                        replies = await pipeline.set("{as}:m", 1).incr("{as}:m").execute()
                    self.assertEqual(replies, [True, 2])
                    bump = client.register_script(BUMP)
                    await client.delete("as:script", "as:queue")
                    self.assertEqual(await bump(keys=["as:script"], args=[5]), 5)
                    popped = asyncio.create_task(client.blpop("as:queue", timeout=10))
                    await client.rpush("as:queue", "job")
                    self.assertEqual(list(await asyncio.wait_for(popped, SECONDS)), ["as:queue", "job"])
                    async with client.lock("as:lock", timeout=10):
                        self.assertTrue(await client.exists("as:lock"))


class Glide(programs.Recorded, unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        asyncio.get_running_loop().slow_callback_duration = 60

    async def client(self, port, protocol):
        client = await glide.GlideClient.create(
            glide.GlideClientConfiguration(
                [glide.NodeAddress("127.0.0.1", port)],
                protocol=getattr(glide.ProtocolVersion, f"RESP{protocol}"),
                client_name="golden",
                request_timeout=10_000,
            )
        )
        self.addAsyncCleanup(client.close)
        return client

    async def test_t28_start_up_and_work(self):
        for protocol in (2, 3):
            with self.subTest(protocol=protocol):
                recorder = self.record(pointsman.port)
                client = await self.client(recorder.port, protocol)
                self.assertIsNone(await client.get(programs.MARKER.decode()))
                programs.judge_start_up(self, recorder, f"glide-python-resp{protocol}")
                values = {f"gp:{n}": str(n) for n in range(200)}
                self.assertEqual(await client.mset(values), "OK")
                self.assertEqual(await client.mget(list(values)), [value.encode() for value in values.values()])
                self.assertEqual(await client.delete(list(values)), 200)
                batch = glide.Batch(is_atomic=True).set("{gp}:m", "1").incr("{gp}:m")
                self.assertEqual(await client.exec(batch, raise_on_error=True), ["OK", 2])
                script = glide.Script(BUMP)
                await client.delete(["gp:script", "gp:queue"])
                self.assertEqual(await client.invoke_script(script, keys=["gp:script"], args=["2"]), 2)
                waiting = await self.client(pointsman.port, protocol)
                popped = asyncio.create_task(waiting.blpop(["gp:queue"], 10))
                await client.rpush("gp:queue", ["job"])
                self.assertEqual(await asyncio.wait_for(popped, SECONDS), [b"gp:queue", b"job"])
                with self.assertRaisesRegex(glide.RequestError, "unknown command"):
                    await client.custom_command(["NOSUCH"])


if __name__ == "__main__":
    unittest.main()
