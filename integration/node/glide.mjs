// Valkey GLIDE, standalone mode.

import { GlideClient, ProtocolVersion, Script, Batch } from "@valkey/valkey-glide";
import { MARKER, assert, checks, eventually, port, protocol, range } from "./checks.mjs";

const heard = [];
const options = {
  addresses: [{ host: "127.0.0.1", port }],
  protocol: protocol === 3 ? ProtocolVersion.RESP3 : ProtocolVersion.RESP2,
  clientName: "golden",
  requestTimeout: 10_000,
};
const client = await GlideClient.createClient(options);

await checks({
  async "start-up"() {
    await client.get(MARKER);
    assert.equal(await client.clientGetName(), "golden");
    assert.match(await client.info(), /redis_version/);
  },

  async "keys over all slots"() {
    const keys = range(200).map((n) => `gl:${n}`);
    assert.equal(await client.mset(keys.map((key, n) => ({ key, value: String(n) }))), "OK");
    assert.deepEqual(await client.mget(keys), range(200).map(String));
    assert.equal(await client.del(keys), 200);
  },

  async "requests at once"() {
    // GLIDE promises no order among requests that are not awaited.
    await Promise.all(range(300).map((n) => client.set(`gl:p:${n}`, String(n))));
    assert.deepEqual(await Promise.all(range(300).map((n) => client.get(`gl:p:${n}`))), range(300).map(String));
  },

  async "types"() {
    await client.hset("gl:hash", { a: "1" });
    assert.deepEqual(await client.hgetall("gl:hash"), [{ field: "a", value: "1" }]);
    await client.zadd("gl:zset", { one: 1.5 });
    assert.equal(await client.zscore("gl:zset", "one"), 1.5);
  },

  async "batches"() {
    assert.deepEqual(await client.exec(new Batch(true).set("{gl}:m", "1").incr("{gl}:m"), true), ["OK", 2]);
    assert.deepEqual(await client.exec(new Batch(false).set("gl:x", "1").set("gl:y", "2").get("gl:x"), true), [
      "OK",
      "OK",
      "1",
    ]);
  },

  async "a script"() {
    const script = new Script("return redis.call('incrby', KEYS[1], ARGV[1])");
    const key = `gl:script:${Date.now()}`;
    assert.equal(await client.invokeScript(script, { keys: [key], args: ["2"] }), 2);
    await client.scriptFlush();
    assert.equal(await client.invokeScript(script, { keys: [key], args: ["3"] }), 5);
    script.release();
  },

  async "waiting for an element"() {
    const waiting = await GlideClient.createClient(options);
    const popped = waiting.blpop(["gl:queue"], 10);
    await client.rpush("gl:queue", ["job"]);
    assert.deepEqual(await popped, ["gl:queue", "job"]);
    waiting.close();
  },

  async "subscriptions"() {
    const subscriber = await GlideClient.createClient({
      ...options,
      protocol: ProtocolVersion.RESP3,
      pubsubSubscriptions: {
        channelsAndPatterns: { 0: new Set(["gl:channel"]), 1: new Set(["glp:*"]) },
        callback: (message) => heard.push(String(message.message)),
      },
    });
    await eventually("it has subscribed", async () => {
      await client.publish("once", "gl:channel");
      return heard.length > 0;
    });
    await client.publish("by pattern", "glp:x");
    await eventually("the message of the pattern", () => heard.includes("by pattern"));
    subscriber.close();
  },

  async "errors are errors"() {
    await assert.rejects(client.incr("gl:hash"), /WRONGTYPE|wrong kind/);
    await assert.rejects(client.customCommand(["NOSUCH"]), /unknown command/);
  },
});

client.close();
