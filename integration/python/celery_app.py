"""The tasks of the Celery test, and the application that both the worker and the test use.

POINTSMAN_PORT says where the broker and the results are, CELERY_KEY_PREFIX what stands before all keys.
"""

import os

from celery import Celery

PREFIX = os.environ.get("CELERY_KEY_PREFIX", "")
URL = f"redis://127.0.0.1:{os.environ.get('POINTSMAN_PORT', '6379')}/0"

app = Celery("pointsman", broker=URL, backend=URL)
app.conf.update(
    broker_transport_options={"global_keyprefix": PREFIX, "priority_steps": [0, 3, 6, 9]},
    result_backend_transport_options={"global_keyprefix": PREFIX},
    broker_connection_retry_on_startup=True,
    task_acks_late=True,
    task_track_started=True,
    worker_prefetch_multiplier=1,
    result_expires=600,
    timezone="UTC",
)


@app.task
def add(one, other):
    return one + other


@app.task
def total(numbers):
    return sum(numbers)


@app.task(bind=True, max_retries=3)
def flaky(self, succeeds_at):
    if self.request.retries < succeeds_at:
        raise self.retry(countdown=0.1)
    return self.request.retries


@app.task
def fails():
    raise ValueError("never")
