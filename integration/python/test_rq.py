"""RQ's real work through Pointsman: jobs, results, retries, schedules, failures, with a worker process.

RQ changes several keys at once by MULTI, guarded by a watched key, so that the listener must allow that across
slots. A queue's name in braces keeps it and its intermediate queue, between which a worker moves jobs, in one slot.
Jobs that depend on others are not among these: RQ watches both, in two slots, and its ids allow no braces.
"""

import datetime
import pathlib
import sys
import unittest

import programs
import redis
import rq_jobs
from cluster import at_cluster
from rq import Queue, Retry
from rq import Worker as RqWorker
from rq.job import Job, JobStatus
from rq.registry import FailedJobRegistry, FinishedJobRegistry, ScheduledJobRegistry
from waiting import until
from workers import Worker

HERE = pathlib.Path(__file__).resolve().parent
pointsman = None


def setUpModule():
    global pointsman
    _, pointsman = at_cluster(*programs.ONE_REDIS)


class Rq(programs.Recorded):
    def finished(self, job):
        until(f"{job.id} is finished", lambda: job.get_status() == JobStatus.FINISHED)
        return job.return_value(refresh=True)

    def work(self, golden, *names):
        recorder = self.record(pointsman.port)
        url = f"redis://127.0.0.1:{recorder.port}/0"
        worker = [
            sys.executable, "-m", "rq.cli", "worker", "--url", url, "--with-scheduler", "--path", HERE,
            "--worker-ttl", "30", "--logging_level", "WARNING", *names,
        ]
        with redis.Redis(port=recorder.port) as client, Worker(worker, HERE) as running:
            queue = Queue(names[0], connection=client)
            until("the worker is there", lambda: RqWorker.count(queue=queue) == 1)
            self.jobs(client, [Queue(name, connection=client) for name in names])
            self.assertNotIn("CROSSSLOT", running.output())
        programs.judge_work(self, recorder, golden)

    def jobs(self, client, queues):
        queue = queues[0]
        self.assertEqual(self.finished(queue.enqueue(rq_jobs.add, 1, 2)), 3)
        jobs = [queues[n % len(queues)].enqueue(rq_jobs.add, n, n) for n in range(20)]
        self.assertEqual([self.finished(job) for job in jobs], [2 * n for n in range(20)])
        self.assertIn(jobs[0].id, FinishedJobRegistry(queue=queue))

        failing = queue.enqueue(rq_jobs.fails)
        until("it failed", lambda: failing.get_status() == JobStatus.FAILED)
        self.assertIn(failing.id, FailedJobRegistry(queue=queue))
        self.assertIn("never", failing.latest_result().exc_string)

        again = queue.enqueue(rq_jobs.fails, retry=Retry(max=2))
        until("it failed for good", lambda: again.get_status() == JobStatus.FAILED)

        again.refresh()
        self.assertEqual(again.retries_left, 0)

        later = queue.enqueue_in(datetime.timedelta(seconds=1), rq_jobs.say, "later")
        self.assertIn(later.id, ScheduledJobRegistry(queue=queue))
        self.assertEqual(self.finished(later), "later")

        self.assertEqual(Job.fetch(later.id, connection=client).origin, queue.name)
        failing.delete()
        self.assertFalse(Job.exists(failing.id, connection=client))
        self.assertEqual([len(one) for one in queues], [0] * len(queues))

    def test_t28_rq_with_one_queue(self):
        self.work("rq-one-queue", "{work}")

    def test_t28_t59_rq_with_several_queues(self):
        self.work("rq-several-queues", "high", "low")


if __name__ == "__main__":
    unittest.main()
