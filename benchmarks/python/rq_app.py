"""RQ by django-rq: the job, and enqueue_many for batches."""

import django
import django_rq
from rq import Queue

CHUNK = 500


def echo(*value):
    return value


def submit(job_id, value):
    return django_rq.get_queue().enqueue(echo, *value, job_id=job_id).id


def submit_many(jobs):
    """Of pairs of id and value. `None` as an id lets RQ make one."""
    prepared = [Queue.prepare_data(echo, value, job_id=job_id) for job_id, value in jobs]
    return [job.id for job in django_rq.get_queue().enqueue_many(prepared)]


def fill(jobs):
    django.setup()
    for start in range(0, jobs, CHUNK):
        submit_many([(None, ("one", "two", "three"))] * min(CHUNK, jobs - start))
