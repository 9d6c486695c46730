"""Celery's real work through Pointsman: a worker process, tasks, groups, chords, chains, retries, delays.

Its queues of several priorities are several keys, which BRPOP waits for at once, and its scripts use several keys.
`global_keyprefix` with braces keeps all of them in one slot.
"""

import os
import pathlib
import sys
import unittest

import programs
from cluster import at_cluster
from workers import Worker

HERE = pathlib.Path(__file__).resolve().parent
SECONDS = 30

pointsman = None


def setUpModule():
    global pointsman
    _, pointsman = at_cluster()


# Runs in a process of its own: an application of Celery cannot be pointed elsewhere once it is imported.
WORK = """
import time
from celery import chain, chord, group
import celery_app as tasks

SECONDS = 30
def check(name, holds):
    if not holds:
        raise SystemExit(f"{name}: not so")
    print("ok", name, flush=True)

check("a task", tasks.add.delay(1, 2).get(timeout=SECONDS) == 3)
check("many tasks", [one.get(timeout=SECONDS) for one in [tasks.add.delay(n, n) for n in range(100)]]
      == [2 * n for n in range(100)])
check("a group", group(tasks.add.s(n, n) for n in range(20))().get(timeout=SECONDS) == [2 * n for n in range(20)])
check("a chord", chord([tasks.add.s(n, n) for n in range(10)], tasks.total.s())().get(timeout=SECONDS) == 90)
check("a chain", chain(tasks.add.s(1, 1), tasks.add.s(5), tasks.add.s(10))().get(timeout=SECONDS) == 17)
check("retries", tasks.flaky.delay(2).get(timeout=SECONDS) == 2)
began = time.monotonic()
check("a countdown", tasks.add.apply_async((3, 4), countdown=1).get(timeout=SECONDS) == 7)
check("not before its time", time.monotonic() - began >= 1)
check("priorities", [tasks.add.apply_async((n, 0), priority=n).get(timeout=SECONDS) for n in (0, 3, 6, 9)]
      == [0, 3, 6, 9])
try:
    tasks.fails.delay().get(timeout=SECONDS)
    check("an exception", False)
except ValueError as error:
    check("an exception", str(error) == "never")
result = tasks.add.delay(1, 1)
result.get(timeout=SECONDS)
result.forget()
check("remote control", list(tasks.app.control.inspect(timeout=5).ping().values()) == [{"ok": "pong"}])
revoked = tasks.add.apply_async((1, 1), countdown=600)
revoked.revoke()
check("revoking", len(tasks.app.control.inspect(timeout=5).registered()) == 1)
check("purging", isinstance(tasks.app.control.purge(), int))
"""


class Celery(programs.Recorded):
    def work(self, prefix, golden):
        recorder = self.record(pointsman.port)
        environment = {"POINTSMAN_PORT": str(recorder.port), "CELERY_KEY_PREFIX": prefix}
        worker = [
            sys.executable, "-m", "celery", "--app", "celery_app", "worker", "--concurrency", "2",
            "--loglevel", "WARNING",
        ]
        with Worker(worker, HERE, **environment) as running:
            programs.run(
                self, recorder.port, [sys.executable, "-c", WORK],
                PYTHONPATH=os.fspath(HERE), CELERY_KEY_PREFIX=prefix,
            )
            self.assertNotIn("CROSSSLOT", running.output())
        programs.judge_work(self, recorder, golden)

    def test_t28_t59_celery_with_a_key_prefix(self):
        self.work("{celery}:", "celery")


if __name__ == "__main__":
    unittest.main()
