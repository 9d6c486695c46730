// node-redis, both protocols. POINTSMAN_LIBRARY says which version's package.

import { MARKER, assert, checks, eventually, port, protocol, range } from "./checks.mjs";

const { createClient, defineScript } = await import(process.env.POINTSMAN_LIBRARY ?? "redis");
const bump = defineScript({
  NUMBER_OF_KEYS: 1,
  SCRIPT: "return redis.call('incrby', KEYS[1], ARGV[1])",
  parseCommand(parser, key, by) {
    parser.pushKey(key);
    parser.push(String(by));
  },
  transformReply: undefined,
});
const options = {
  socket: { host: "127.0.0.1", port },
  RESP: protocol,
  // Version 5 refuses to read streams in RESP3 without this.
  unstableResp3: true,
  name: "golden",
  scripts: { bump },
};
const client = createClient(options);
client.on("error", (error) => console.error("client:", error.message));
await client.connect();

await checks({
  async "start-up"() {
    await client.get(MARKER);
    assert.equal(await client.clientGetName(), "golden");
  },

  async "keys over all slots"() {
    const keys = range(200).map((n) => `nr:${n}`);
    assert.equal(await client.mSet(keys.map((key, n) => [key, String(n)])), "OK");
    assert.deepEqual(await client.mGet(keys), range(200).map(String));
    assert.equal(await client.del(keys), 200);
  },

  async "types"() {
    await client.hSet("nr:hash", { a: 1, b: 2 });
    assert.deepEqual({ ...(await client.hGetAll("nr:hash")) }, { a: "1", b: "2" });
    await client.zAdd("nr:zset", [{ score: 1.5, value: "one" }, { score: 2, value: "two" }]);
    assert.deepEqual(
      (await client.zRangeWithScores("nr:zset", 0, -1)).map(({ value, score }) => [value, score]),
      [["one", 1.5], ["two", 2]],
    );
    assert.equal(await client.zScore("nr:zset", "one"), 1.5);
    assert.deepEqual([...(await client.sMembers("nr:none"))], []);
    assert.equal(await client.get("nr:none"), null);
  },

  async "requests at once"() {
    const replies = await Promise.all(range(500).flatMap((n) => [client.set(`nr:p:${n}`, n), client.get(`nr:p:${n}`)]));
    assert.deepEqual(replies.filter((_, at) => at % 2), range(500).map(String));
  },

  async "transactions"() {
    assert.deepEqual(await client.multi().set("{nr}:m", 1).incr("{nr}:m").get("{nr}:m").exec(), ["OK", 2, "2"]);
    const other = await client.duplicate().connect();
    await client.watch("nr:watched");
    await other.set("nr:watched", "theirs");
    await assert.rejects(client.multi().set("nr:watched", "mine").exec(), (error) => error.constructor.name === "WatchError");
    other.destroy();
  },

  async "a script by its digest"() {
    const key = `nr:script:${Date.now()}`;
    assert.equal(await client.bump(key, 2), 2);
    await client.scriptFlush();
    assert.equal(await client.bump(key, 3), 5);
  },

  async "waiting for an element"() {
    const waiting = await client.duplicate().connect();
    const popped = waiting.blPop("nr:queue", 10);
    await client.rPush("nr:queue", "job");
    const { key, element } = await popped;
    assert.deepEqual([key, element], ["nr:queue", "job"]);
    assert.equal(await waiting.blPop("nr:queue", 0.05), null);
    waiting.destroy();
  },

  async "subscriptions"() {
    const subscriber = await client.duplicate().connect();
    const heard = [];
    await subscriber.subscribe("nr:one", (text, channel) => heard.push([channel, text]));
    await subscriber.pSubscribe("nrp:*", (text, channel) => heard.push([channel, text]));
    await subscriber.sSubscribe("nr:shard", (text, channel) => heard.push([channel, text]));
    await client.publish("nr:one", "a");
    await client.publish("nrp:x", "b");
    await client.sPublish("nr:shard", "c");
    await eventually("all messages", () => heard.length === 3);
    assert.deepEqual(heard.sort(), [["nr:one", "a"], ["nr:shard", "c"], ["nrp:x", "b"]]);
    await subscriber.unsubscribe("nr:one");
    await subscriber.pUnsubscribe("nrp:*");
    await subscriber.sUnsubscribe("nr:shard");
    assert.equal(String(await subscriber.ping()), "PONG");
    subscriber.destroy();
  },

  async "a stream with a group"() {
    await client.del("nr:stream");
    await client.xGroupCreate("nr:stream", "g", "$", { MKSTREAM: true });
    const id = await client.xAdd("nr:stream", "*", { field: "value" });
    const read = await client.xReadGroup("g", "me", { key: "nr:stream", id: ">" }, { BLOCK: 1000 });
    // A map or a list, by version and protocol.
    assert.match(JSON.stringify(read), new RegExp(`nr:stream.*${id}`));
    assert.equal(await client.xAck("nr:stream", "g", id), 1);
  },

  async "scanIterator meets every key"() {
    await client.mSet(range(300).map((n) => [`nrscan:${n}`, "1"]));
    const found = new Set();
    for await (const keys of client.scanIterator({ MATCH: "nrscan:*", COUNT: 50 })) keys.forEach((key) => found.add(key));
    assert.equal(found.size, 300);
  },

  async "errors are errors"() {
    await assert.rejects(client.incr("nr:hash"), /WRONGTYPE/);
    await assert.rejects(client.sendCommand(["NOSUCH"]), /unknown command/);
    assert.equal(await client.ping(), "PONG");
  },
});

await client.close();
