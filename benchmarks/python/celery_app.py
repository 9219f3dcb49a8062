"""Celery: its usual settings out of Django's, and one task."""

import django
from celery import Celery

app = Celery("bench")
app.config_from_object("django.conf:settings", namespace="CELERY")


@app.task
def echo(*value):
    return value


def submit(job_id, value):
    return echo.apply_async(value, task_id=job_id).id


def submit_many(jobs):
    """Celery has no call for a batch: one message after the other, over one connection."""
    with app.producer_or_acquire() as producer:
        return [echo.apply_async(value, task_id=job_id, producer=producer).id for job_id, value in jobs]


def fill(jobs):
    django.setup()
    submit_many([(None, ("one", "two", "three"))] * jobs)
