// BullMQ's real work: jobs, delays, priorities, retries, repetition and flows, with a worker.
// All keys of a queue must share a slot: that is what its `prefix` with braces is for.

import { FlowProducer, Queue, QueueEvents, Worker } from "bullmq";
import { assert, checks, eventually, port, range } from "./checks.mjs";

const connection = { host: "127.0.0.1", port, maxRetriesPerRequest: null };
const shared = { connection, prefix: "{bull}" };
const queue = new Queue("work", shared);
const events = new QueueEvents("work", shared);
const flows = new FlowProducer(shared);
const done = [];
let failures = 0;
const worker = new Worker(
  "work",
  async (job) => {
    if (job.name === "flaky" && failures++ < 2) throw new Error("not yet");
    if (job.name === "broken") throw new Error("never");
    if (job.name === "parent") return Object.values(await job.getChildrenValues()).reduce((sum, n) => sum + n, 0);
    await job.updateProgress(50);
    done.push(job.name);
    return job.data.n * 2;
  },
  { ...shared, concurrency: 5, drainDelay: 1 },
);
for (const one of [queue, events, flows, worker]) one.on("error", (error) => console.error("bullmq:", error.message));

await checks({
  async "start-up"() {
    await Promise.all([queue.waitUntilReady(), events.waitUntilReady(), worker.waitUntilReady()]);
  },

  async "a job and its result"() {
    const job = await queue.add("double", { n: 21 });
    assert.equal(await job.waitUntilFinished(events, 15_000), 42);
  },

  async "many jobs"() {
    const jobs = await queue.addBulk(range(200).map((n) => ({ name: `bulk`, data: { n } })));
    const results = await Promise.all(jobs.map((job) => job.waitUntilFinished(events, 15_000)));
    assert.deepEqual(results, range(200).map((n) => n * 2));
  },

  async "a delayed job"() {
    const began = Date.now();
    const job = await queue.add("later", { n: 1 }, { delay: 300 });
    assert.equal(await job.getState(), "delayed");
    await job.waitUntilFinished(events, 15_000);
    assert.ok(Date.now() - began >= 300);
  },

  async "priorities"() {
    await queue.pause();
    done.length = 0;
    await queue.add("low", { n: 1 }, { priority: 10 });
    await queue.add("high", { n: 1 }, { priority: 1 });
    await queue.resume();
    await eventually("both ran", () => done.length === 2);
    assert.equal(done[0], "high");
  },

  async "retries with a backoff"() {
    const job = await queue.add("flaky", { n: 4 }, { attempts: 3, backoff: { type: "fixed", delay: 50 } });
    assert.equal(await job.waitUntilFinished(events, 15_000), 8);
  },

  async "a job that fails for good"() {
    const job = await queue.add("broken", {});
    await assert.rejects(job.waitUntilFinished(events, 15_000), /never/);
    assert.equal(await queue.getFailedCount(), 1);
  },

  async "a flow: parents wait for their children"() {
    const flow = await flows.add({
      name: "parent",
      queueName: "work",
      children: range(3).map((n) => ({ name: "child", queueName: "work", data: { n } })),
    });
    assert.equal(await flow.job.waitUntilFinished(events, 15_000), 6);
  },

  async "a job scheduler"() {
    done.length = 0;
    await queue.upsertJobScheduler("often", { every: 100 }, { name: "tick", data: { n: 1 } });
    await eventually("three ticks", () => done.filter((name) => name === "tick").length >= 3);
    assert.ok(await queue.removeJobScheduler("often"));
  },

  async "counts, cleaning, the end"() {
    const counts = await queue.getJobCounts();
    assert.ok(counts.completed > 200, JSON.stringify(counts));
    assert.ok((await queue.getWorkers()).length >= 1);
    await worker.close();
    await queue.obliterate({ force: true });
    await Promise.all([queue.close(), events.close(), flows.close()]);
  },
});
