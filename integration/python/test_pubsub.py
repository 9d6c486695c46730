"""redis-py's pub/sub, blocking and asyncio, RESP2 and RESP3, over a real cluster."""

import asyncio
import time
import unittest

import redis
import redis.asyncio
from cluster import at_cluster
from waiting import until

SECONDS = 20

cluster = None
pointsman = None


def setUpModule():
    global cluster, pointsman
    cluster, pointsman = at_cluster(options=("--notify-keyspace-events", "KEA"))


class Blocking:
    """The same tests for both protocol versions; see the classes at the end."""

    protocol = None

    def setUp(self):
        self.client = redis.Redis(port=pointsman.port, protocol=self.protocol, decode_responses=True)
        self.pubsub = self.client.pubsub()

    def tearDown(self):
        self.pubsub.close()
        self.client.close()

    def hear(self):
        """The next message of any kind as (type, pattern, channel, data)."""
        message = until("a message", lambda: self.pubsub.get_message(timeout=1))
        return tuple(message[field] for field in ("type", "pattern", "channel", "data"))

    def test_channels_and_patterns(self):
        self.pubsub.subscribe("py:a", "py:b")
        self.pubsub.psubscribe("py:*")
        heard = [self.hear() for _ in range(3)]
        self.assertEqual(
            sorted(heard, key=str),
            sorted(
                [("subscribe", None, "py:a", 1), ("subscribe", None, "py:b", 2), ("psubscribe", None, "py:*", 3)],
                key=str,
            ),
        )
        self.client.publish("py:a", "one")
        self.assertEqual(
            {self.hear(), self.hear()},
            {("message", None, "py:a", "one"), ("pmessage", "py:*", "py:a", "one")},
        )
        self.pubsub.punsubscribe()
        self.assertEqual(self.hear(), ("punsubscribe", None, "py:*", 2))
        self.client.publish("py:b", "two")
        self.assertEqual(self.hear(), ("message", None, "py:b", "two"))
        self.pubsub.unsubscribe()
        self.assertEqual({self.hear()[0], self.hear()[0]}, {"unsubscribe"})

    def test_a_thread_with_handlers(self):
        heard = []
        self.pubsub.subscribe(**{"py:handled": heard.append})
        thread = self.pubsub.run_in_thread(sleep_time=0.01, daemon=True)
        try:
            until("the handler heard it", lambda: self.client.publish("py:handled", "x") and heard)
        finally:
            thread.stop()
            thread.join(SECONDS)
        self.assertEqual(heard[0]["data"], "x")

    def test_health_checks_while_subscribed(self):
        with redis.Redis(
            port=pointsman.port, protocol=self.protocol, decode_responses=True, health_check_interval=1
        ) as client:
            self.pubsub.close()
            self.pubsub = client.pubsub()
            self.pubsub.subscribe("py:health")
            self.assertEqual(self.hear()[0], "subscribe")
            # Each look after a second of silence asks PING first, and must understand the answer.
            for n in range(3):
                time.sleep(1.1)
                self.client.publish("py:health", str(n))
                self.assertEqual(self.hear(), ("message", None, "py:health", str(n)))

    def test_shard_channels(self):
        self.pubsub.ssubscribe("py:s", "py:t")
        self.assertEqual({self.hear()[2], self.hear()[2]}, {"py:s", "py:t"})
        self.assertEqual(self.client.spublish("py:t", "hi"), 1)
        self.assertEqual(self.hear(), ("smessage", None, "py:t", "hi"))

    def test_keyspace_events(self):
        self.pubsub.psubscribe("__keyevent@0__:set")
        self.assertEqual(self.hear()[0], "psubscribe")
        for n in range(20):
            self.client.set(f"py:key:{n}", n)
            self.assertEqual(self.hear()[3], f"py:key:{n}")

    def test_subscriptions_outlive_backend_connections(self):
        self.pubsub.subscribe("py:kill")
        self.assertEqual(self.hear()[0], "subscribe")
        cluster.kill_subscribers()

        def hear_again():
            self.client.publish("py:kill", "again")
            return self.pubsub.get_message(timeout=0.05)

        message = until("messages flow again", hear_again)
        self.assertEqual(message["type"], "message", "not a second confirmation")


class Resp2(Blocking, unittest.TestCase):
    protocol = 2


class Resp3(Blocking, unittest.TestCase):
    protocol = 3

    def test_commands_on_the_subscribed_connection(self):
        self.pubsub.subscribe("py:same")
        self.assertEqual(self.hear()[0], "subscribe")
        connection = self.pubsub.connection
        connection.send_command("SET", "py:same", "1")
        self.assertEqual(connection.read_response(push_request=True), "OK")


class Asyncio(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        # The test case's loop reports slow steps; on a busy machine that is only noise.
        asyncio.get_running_loop().slow_callback_duration = 60

    async def test_many_listeners(self):
        for protocol in (2, 3):
            with self.subTest(protocol=protocol):
                async with redis.asyncio.Redis(
                    port=pointsman.port, protocol=protocol, decode_responses=True
                ) as client:
                    ready = asyncio.Semaphore(0)

                    async def listen():
                        async with client.pubsub() as pubsub:
                            await pubsub.subscribe("py:many")
                            heard = []
                            async for message in pubsub.listen():
                                if message["type"] == "subscribe":
                                    ready.release()
                                    continue
                                heard.append(message["data"])
                                if len(heard) == 50:
                                    return heard

                    listeners = [asyncio.create_task(listen()) for _ in range(20)]
                    for _ in listeners:
                        await asyncio.wait_for(ready.acquire(), SECONDS)
                    for n in range(50):
                        await client.publish("py:many", n)
                    for heard in await asyncio.wait_for(asyncio.gather(*listeners), SECONDS):
                        self.assertEqual(heard, [str(n) for n in range(50)])


if __name__ == "__main__":
    unittest.main()
