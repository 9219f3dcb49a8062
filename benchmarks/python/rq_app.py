"""RQ by django-rq: the job, and enqueue_many for batches."""

import os

import django
import django_rq
import long
from rq import Queue

CHUNK = 500
RESULT_TTL_S = int(os.environ.get("RESULT_TTL_S", "500"))  # RQ's own default; 0 keeps none


def echo(*value):
    return value


def submit_long():
    django.setup()
    django_rq.get_queue().enqueue(long.rest, job_timeout=2 * long.SECONDS)


def submit(job_id, value):
    return django_rq.get_queue().enqueue(echo, *value, job_id=job_id, result_ttl=RESULT_TTL_S).id


def submit_many(jobs):
    """Of pairs of id and value. `None` as an id lets RQ make one."""
    prepared = [Queue.prepare_data(echo, value, job_id=job_id, result_ttl=RESULT_TTL_S) for job_id, value in jobs]
    return [job.id for job in django_rq.get_queue().enqueue_many(prepared)]


def fill(jobs):
    django.setup()
    for start in range(0, jobs, CHUNK):
        submit_many([(None, ("one", "two", "three"))] * min(CHUNK, jobs - start))
