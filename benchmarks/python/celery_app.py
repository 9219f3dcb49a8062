"""Celery: its usual settings out of Django's, and one task."""

import django
import long
from celery import Celery

app = Celery("bench")
app.config_from_object("django.conf:settings", namespace="CELERY")


@app.task
def echo(*value):
    return value


@app.task
def rest():
    long.rest()


def submit_long():
    django.setup()
    rest.delay()


def submit(job_id, value):
    return echo.apply_async(value, task_id=job_id).id


def fill(jobs):
    """Celery has no call for a batch: one message after the other, over one connection."""
    django.setup()
    with app.producer_or_acquire() as producer:
        for _ in range(jobs):
            echo.apply_async(("one", "two", "three"), producer=producer)
