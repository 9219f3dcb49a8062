"""Lives of jobs, made by the real transitions in the test's own process."""

from __future__ import annotations

import ctypes
import threading
import uuid
from typing import Any

from django.db import transaction

import jobs
from jobs import leases, run, transitions
from jobs.context import JobContext
from jobs.interrupts import Slot, Watch
from jobs.lifecycle import Actor, End
from jobs.models import Job
from jobs.rows import Row
from jobs.transitions import Claimed, Ended

WATCH = Watch()

ENDS = [end for end in End if end is not End.UNBEGUN]
"""How an attempt may end; a claim that no handler began is not one."""


def submit(type: str = "echo", payload: Any = None, **options: Any) -> uuid.UUID:
    return jobs.submit(type, payload, **options).id


def open_lease() -> uuid.UUID:
    return leases.open_lease(kind="horse", worker="w1", queue_names=["default"], concurrency=10)


def claim(job_id: uuid.UUID, lease_id: uuid.UUID | None = None) -> Claimed:
    lease_id = lease_id or open_lease()
    with transaction.atomic():
        (claimed,) = transitions.claim([job_id], lease_id=lease_id, worker="w1")
    return claimed


def context_of(claimed: Claimed, slot: Slot | None = None) -> JobContext:
    context = JobContext(claimed.row, threading.Event())
    context.begin(object(), slot or Slot())
    return context


def ended(row: Row | Job, end: End, **facts: Any) -> Ended:
    """How the row's present attempt ended, under its fence. A job that never ran has a lease that never was."""
    budget = run.budget_of(row)  # type: ignore[arg-type]
    claimed = row if isinstance(row, Row) else None
    facts = {"has_effects": row.has_effects, "claimed": claimed, **facts}
    return Ended(row.id, row.version, row.lease_id or uuid.uuid4(), end, budget, **facts)


def end(row: Row | Job, how: End, *, actor: Actor = Actor.WORKER, **facts: Any) -> list[Row]:
    with transaction.atomic():
        return transitions.end_attempts([ended(row, how, **facts)], actor=actor, who="w1")


def attempt(job_id: uuid.UUID, lease_id: uuid.UUID | None = None) -> Job:
    """One whole attempt of a queued job: claim, handler, outcome; the job as it is then."""
    claimed = claim(job_id, lease_id)
    context = context_of(claimed)
    outcome = run.run(claimed, context, context.slot, WATCH)
    with transaction.atomic():
        transitions.end_attempts([outcome], actor=Actor.WORKER, who="w1")
    return Job.objects.get(pk=job_id)


def abandon(effect: object) -> None:
    """Never leave an effect that was entered, as when its process dies: to be collected would be to be left."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(effect))


def expire(lease_id: uuid.UUID) -> list[Row]:
    """What housekeeping does with the lease of a dead horse."""
    return leases.end_lease(lease_id, leases.crashed("it died"), actor=Actor.HOUSEKEEPING, who="h1")
