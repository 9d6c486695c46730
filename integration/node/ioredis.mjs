// ioredis, as applications use it. POINTSMAN_LIBRARY says which version's package.

import { MARKER, assert, checks, eventually, port, range } from "./checks.mjs";

const { Redis } = await import(process.env.POINTSMAN_LIBRARY ?? "ioredis");
const options = { port, host: "127.0.0.1", connectionName: "golden", maxRetriesPerRequest: 2 };
const redis = new Redis(options);
redis.on("error", (error) => console.error("client:", error.message));

await checks({
  async "start-up with the ready check"() {
    await redis.get(MARKER);
    assert.equal(redis.status, "ready");
    assert.equal(await redis.client("GETNAME"), "golden");
  },

  async "keys over all slots"() {
    const keys = range(200).map((n) => `io:${n}`);
    assert.equal(await redis.mset(...keys.flatMap((key, n) => [key, n])), "OK");
    assert.deepEqual(await redis.mget(...keys), range(200).map(String));
    assert.equal(await redis.exists(...keys), 200);
    assert.equal(await redis.del(...keys), 200);
  },

  async "types"() {
    await redis.hset("io:hash", { a: 1, b: 2 });
    assert.deepEqual(await redis.hgetall("io:hash"), { a: "1", b: "2" });
    await redis.zadd("io:zset", 1.5, "one", 2, "two");
    assert.deepEqual(await redis.zrange("io:zset", 0, -1, "WITHSCORES"), ["one", "1.5", "two", "2"]);
    await redis.set("io:bytes", Buffer.from([0, 255, 13, 10]));
    assert.deepEqual(await redis.getBuffer("io:bytes"), Buffer.from([0, 255, 13, 10]));
  },

  async "a pipeline over many slots"() {
    const pipeline = redis.pipeline();
    for (const n of range(500)) pipeline.set(`io:p:${n}`, n).get(`io:p:${n}`);
    const replies = await pipeline.exec();
    assert.ok(replies.every(([error]) => error === null));
    assert.deepEqual(replies.filter((_, at) => at % 2).map(([, value]) => value), range(500).map(String));
  },

  async "automatic pipelining"() {
    const client = new Redis({ ...options, enableAutoPipelining: true });
    await Promise.all(range(300).map((n) => client.set(`io:a:${n}`, n)));
    assert.deepEqual(await Promise.all(range(300).map((n) => client.get(`io:a:${n}`))), range(300).map(String));
    client.disconnect();
  },

  async "a transaction"() {
    const replies = await redis.multi().set("{io}:m", 1).incr("{io}:m").get("{io}:m").exec();
    assert.deepEqual(replies, [[null, "OK"], [null, 2], [null, "2"]]);
  },

  async "a watched key that changes"() {
    const other = redis.duplicate();
    await redis.watch("io:watched");
    await other.set("io:watched", "theirs");
    assert.equal(await redis.multi().set("io:watched", "mine").exec(), null);
    other.disconnect();
  },

  async "a script by its digest"() {
    redis.defineCommand("bump", { numberOfKeys: 1, lua: "return redis.call('incrby', KEYS[1], ARGV[1])" });
    const key = `io:script:${Date.now()}`;
    assert.equal(await redis.bump(key, 2), 2);
    assert.equal(await redis.bump(key, 3), 5);
    await redis.script("FLUSH");
    assert.equal(await redis.bump(key, 4), 9);
  },

  async "waiting for an element"() {
    const waiting = redis.duplicate();
    const popped = waiting.blpop("io:queue", 10);
    await redis.rpush("io:queue", "job");
    assert.deepEqual(await popped, ["io:queue", "job"]);
    assert.equal(await waiting.blpop("io:queue", 0.05), null);
    waiting.disconnect();
  },

  async "subscriptions"() {
    const subscriber = redis.duplicate();
    const heard = [];
    subscriber.on("message", (channel, text) => heard.push([channel, text]));
    subscriber.on("pmessage", (pattern, channel, text) => heard.push([pattern, channel, text]));
    assert.equal(await subscriber.subscribe("io:one", "io:two"), 2);
    assert.equal(await subscriber.psubscribe("iop:*"), 3);
    await redis.publish("io:two", "hi");
    await redis.publish("iop:x", "ho");
    await eventually("both messages", () => heard.length === 2);
    assert.deepEqual(heard.sort(), [["io:two", "hi"], ["iop:*", "iop:x", "ho"]]);
    assert.equal(await subscriber.unsubscribe("io:one", "io:two"), 1);
    assert.equal(await subscriber.punsubscribe("iop:*"), 0);
    assert.equal(await subscriber.ping(), "PONG");
    subscriber.disconnect();
  },

  async "a stream with a group"() {
    await redis.xgroup("CREATE", "io:stream", "g", "$", "MKSTREAM");
    const id = await redis.xadd("io:stream", "*", "field", "value");
    const read = await redis.xreadgroup("GROUP", "g", "me", "BLOCK", 1000, "STREAMS", "io:stream", ">");
    assert.deepEqual(read, [["io:stream", [[id, ["field", "value"]]]]]);
    assert.equal(await redis.xack("io:stream", "g", id), 1);
    await redis.del("io:stream");
  },

  async "scanStream meets every key"() {
    await redis.mset(...range(300).flatMap((n) => [`ioscan:${n}`, 1]));
    const found = new Set();
    for await (const keys of redis.scanStream({ match: "ioscan:*", count: 50 })) keys.forEach((key) => found.add(key));
    assert.equal(found.size, 300);
  },

  async "errors are errors"() {
    await assert.rejects(redis.rename("io:p:1", "io:p:2"), /CROSSSLOT|no such key/);
    await assert.rejects(redis.incr("io:hash"), /WRONGTYPE/);
    await assert.rejects(redis.call("NOSUCH"), /unknown command/);
  },

  async "it reconnects by itself"() {
    const victim = redis.duplicate();
    const id = await victim.client("ID");
    await redis.client("KILL", "ID", id);
    assert.notEqual(await eventually("a new connection", () => victim.client("ID").catch(() => 0)), id);
    victim.disconnect();
  },
});

assert.equal(await redis.quit(), "OK");
