"""One attempt of a job in the test's own process, through the real claim, fence and ending."""

from __future__ import annotations

import threading
import uuid

from jobs import leases, queue, run, transitions
from jobs.context import JobContext
from jobs.interrupts import Slot, Watch
from jobs.lifecycle import Actor
from jobs.models import Job

_watch = Watch()


def attempt(job_id: uuid.UUID) -> Job:
    """Claim the job, due or not, run its handler, record the outcome; the job as it is then."""
    transitions.promote([job_id], actor=Actor.OPERATOR, who="test")
    lease_id = leases.open_lease(kind="horse", worker="test", queue_names=["default"], concurrency=1)
    (claimed,) = transitions.claim([job_id], lease_id=lease_id, worker="test")
    slot = Slot()
    context = JobContext(claimed.row, threading.Event())
    ended = run.run(claimed, context, slot, _watch)
    queue.push(transitions.end_attempts([ended], actor=Actor.WORKER, who="test"))
    return Job.objects.get(pk=job_id)
