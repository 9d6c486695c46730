"""redis-py, blocking and asyncio, RESP2 and RESP3, at the embedded default."""

import asyncio
import threading
import unittest

import redis
import redis.asyncio
from proxy import Pointsman

pointsman = None


def setUpModule():
    global pointsman
    pointsman = Pointsman()


def tearDownModule():
    pointsman.stop()


class Blocking:
    """The same tests for both protocol versions; see the classes at the end."""

    protocol = None

    def setUp(self):
        self.client = redis.Redis(port=pointsman.port, protocol=self.protocol, decode_responses=True)
        self.client.flushall()

    def tearDown(self):
        self.client.close()

    def test_strings(self):
        client = self.client
        self.assertTrue(client.ping())
        self.assertTrue(client.set("a", "1"))
        self.assertEqual(client.get("a"), "1")
        self.assertEqual(client.incrby("a", 41), 42)
        self.assertEqual(client.append("b", "xyz"), 3)
        self.assertEqual(client.getrange("b", 1, -1), "yz")
        self.assertIsNone(client.set("a", "2", nx=True))
        self.assertEqual(client.set("a", "2", xx=True, get=True), "42")
        self.assertIsNone(client.get("nothing"))
        self.assertEqual(client.getdel("a"), "2")

    def test_keys_over_all_slots(self):
        client = self.client
        values = {f"key:{n}": str(n) for n in range(500)}
        self.assertTrue(client.mset(values))
        self.assertEqual(client.mget(list(values)), list(values.values()))
        self.assertEqual(client.dbsize(), 500)
        self.assertEqual(client.exists(*values, "nothing"), 500)
        self.assertEqual(client.delete(*values), 500)
        self.assertEqual(client.dbsize(), 0)

    def test_expiry(self):
        client = self.client
        client.set("a", "1", ex=100)
        self.assertTrue(0 < client.ttl("a") <= 100)
        self.assertTrue(client.persist("a"))
        self.assertEqual(client.ttl("a"), -1)
        self.assertEqual(client.ttl("nothing"), -2)

    def test_binary_values(self):
        with redis.Redis(port=pointsman.port, protocol=self.protocol) as client:
            for value in (b"", b"\r\n", bytes(range(256)), b"x" * 1_000_000):
                client.set(b"k\x00\xff", value)
                self.assertEqual(client.get(b"k\x00\xff"), value)

    def test_pipeline_without_transaction(self):
        client = self.client
        pipeline = client.pipeline(transaction=False)
        for n in range(1000):
            pipeline.set(f"p:{n}", n)
            pipeline.get(f"p:{n}")
        replies = pipeline.execute()
        self.assertEqual(replies[1::2], [str(n) for n in range(1000)])
        self.assertTrue(all(replies[::2]))

    def test_errors_are_exceptions_and_the_connection_stays(self):
        client = self.client
        client.set("a", "text")
        with self.assertRaisesRegex(redis.ResponseError, "not an integer"):
            client.incr("a")
        with self.assertRaisesRegex(redis.ResponseError, "same slot"):
            client.rename("a", "b")
        with self.assertRaisesRegex(redis.ResponseError, "unknown command"):
            client.execute_command("NOSUCH", "x")
        self.assertEqual(client.get("a"), "text")

    def test_what_is_not_there_yet_says_so(self):
        client = self.client
        with self.assertRaises(redis.ResponseError):
            client.pipeline(transaction=True).set("a", 1).execute()
        self.assertTrue(client.set("a", "after"))

    def test_introspection(self):
        client = self.client
        self.assertIn("redis_version", client.info("server"))
        self.assertGreater(client.client_id(), 0)
        self.assertTrue(client.client_setname("python"))
        self.assertEqual(client.client_getname(), "python")
        self.assertEqual(client.echo("hello"), "hello")

    def test_start_up_and_identity(self):
        options = {"protocol": self.protocol, "decode_responses": True, "client_name": "golden"}
        with redis.Redis(port=pointsman.port, db=0, health_check_interval=1, **options) as client:
            self.assertTrue(client.ping())
            mine = client.client_info()
            self.assertEqual((mine["name"], mine["lib-name"], mine["user"]), ("golden", "redis-py", "default"))
            self.assertIn(str(client.client_id()), [other["id"] for other in client.client_list()])
            self.assertEqual([other["name"] for other in client.client_list(client_id=[mine["id"]])], ["golden"])
            with redis.Redis(port=pointsman.port, **options) as victim:
                number = victim.client_id()
                self.assertEqual(client.client_kill_filter(_id=number), 1)
                # It connects again by itself.
                self.assertNotEqual(victim.client_id(), number)
            self.assertTrue(client.client_pause(1, all=False))
            self.assertTrue(client.client_unpause())
            self.assertEqual(client.client_unblock(client.client_id()), 0)
            self.assertTrue(client.client_no_evict("ON"))
            self.assertEqual(client.client_reply("ON"), "OK")
            self.assertTrue(client.reset())

    def test_what_frameworks_read(self):
        client = self.client
        client.mset({f"info:{n}": n for n in range(40)})
        client.expire("info:0", 1000)
        info = client.info()
        self.assertEqual((info["redis_mode"], info["role"], info["loading"]), ("standalone", "master", 0))
        self.assertEqual((info["db0"]["keys"], info["db0"]["expires"]), (40, 1))
        self.assertGreater(info["used_memory"], 0)
        self.assertEqual(client.config_get("maxmemory-policy"), {"maxmemory-policy": "noeviction"})
        self.assertEqual(client.config_get("data*"), {"databases": "1"})
        self.assertTrue(client.config_resetstat())
        with self.assertRaisesRegex(redis.ResponseError, "CONFIG SET failed"):
            client.config_set("maxmemory", "1")
        self.assertEqual(client.role()[0], "master")
        self.assertEqual(client.acl_whoami(), "default")
        self.assertEqual(len(client.time()), 2)
        self.assertIn("get", client.command())
        self.assertEqual(client.command_count(), len(client.command()))
        self.assertEqual(client.command_getkeys("MSET", "a", 1, "b", 2), ["a", "b"])
        self.assertIn("Redis ver.", client.lolwut())
        with self.assertRaisesRegex(redis.ResponseError, "DB index is out of range"):
            redis.Redis(port=pointsman.port, db=1).ping()

    def test_many_threads_share_a_pool(self):
        client = self.client
        failures = []

        def work(number):
            try:
                for n in range(200):
                    client.incr("threads")
                    client.set(f"t:{number}", n)
                    if client.get(f"t:{number}") != str(n):
                        failures.append((number, n))
            except Exception as error:  # shown below, in the test's own thread
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertEqual(client.get("threads"), "1600")


class Resp2(Blocking, unittest.TestCase):
    protocol = 2


class Resp3(Blocking, unittest.TestCase):
    protocol = 3


class Asyncio(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        # The test case's loop reports slow steps; on a busy machine that is only noise.
        asyncio.get_running_loop().slow_callback_duration = 60

    async def test_concurrent_tasks(self):
        for protocol in (2, 3):
            with self.subTest(protocol=protocol):
                client = redis.asyncio.Redis(port=pointsman.port, protocol=protocol, decode_responses=True)
                await client.flushall()

                async def work(number):
                    for n in range(50):
                        await client.set(f"a:{number}:{n}", n)
                        await client.incr("counter")
                    return await client.mget([f"a:{number}:{n}" for n in range(50)])

                results = await asyncio.gather(*(work(number) for number in range(20)))
                self.assertEqual(results, [[str(n) for n in range(50)]] * 20)
                self.assertEqual(await client.get("counter"), "1000")
                await client.aclose()

    async def test_pipeline(self):
        async with redis.asyncio.Redis(port=pointsman.port, decode_responses=True) as client:
            async with client.pipeline(transaction=False) as pipeline:
                for n in range(500):
                    pipeline.set(f"ap:{n}", n).get(f"ap:{n}")
                replies = await pipeline.execute()
            self.assertEqual(replies[1::2], [str(n) for n in range(500)])

    async def test_a_cancelled_request_does_not_shift_replies(self):
        async with redis.asyncio.Redis(port=pointsman.port, decode_responses=True) as client:
            for n in range(50):
                await client.set(f"c:{n}", n)
            for n in range(50):
                task = asyncio.create_task(client.get(f"c:{n}"))
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                self.assertEqual(await client.get(f"c:{n}"), str(n))


if __name__ == "__main__":
    unittest.main()
