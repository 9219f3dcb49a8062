"""Jobs in any status, with the columns, events, lease and effect that such a life leaves behind.

A life is a list of events, walked through the lifecycle table: what the table does not allow cannot be
made. Given only a status, the shortest life that leads there is taken. For tests of what reads jobs;
those that move jobs use the real transitions.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any

import uuid_utils.compat as uuid_utils
from django.utils import timezone

from jobs.lifecycle import FINAL, TRANSITIONS, Actor, Event, Status
from jobs.models import Effect, IdempotencyKey, Job, JobTag, Lease
from jobs.models import Event as EventRow

STEP = dt.timedelta(seconds=2)
"""Time between two events of a made life; the last one is now."""

QUEUES_AGAIN = (Event.PROMOTE, Event.RELEASE, Event.EXPIRE, Event.SETTLE, Event.RERUN)


def make_job(
    status: Status | str = Status.QUEUED,
    *,
    life: Sequence[Event] | None = None,
    tags: Sequence[str] = (),
    **columns: Any,
) -> Job:
    """A stored job. `columns` win over what the life says; `key` makes its idempotency key as well."""
    events = list(life or shortest_life(Status(status)))
    start = timezone.now() - STEP * len(events)
    sources = TRANSITIONS[events[0]].sources if events else (Status(status),)
    job = _new(start, columns, is_delayed=sources == (Status.SCHEDULED,))
    rows = [
        EventRow(job=job, event="submit", target=job.status, attempt=0, actor=Actor.CLIENT, who=job.client, at=start)
    ]
    for number, event in enumerate(events, 1):
        rows.append(_apply(job, event, start + STEP * number))
    for name, value in columns.items():
        setattr(job, name, value)
    job.save(force_insert=True)
    EventRow.objects.bulk_create(rows)
    JobTag.objects.bulk_create(JobTag(job=job, tag=tag) for tag in tags)
    if Event.DOUBT in events:
        make_effect(job)
    if job.key is not None:
        IdempotencyKey.objects.create(
            client=job.client, key=job.key, job_id=job.id, salt=b"s" * 16, fingerprint=b"f" * 32, algorithm=1
        )
    return job


def make_effect(job: Job, name: str = "send", status: str = Effect.Status.IN_DOUBT, **columns: Any) -> Effect:
    Job.objects.filter(pk=job.pk).update(has_effects=True)
    error = "the connection was reset after the request was sent" if status == Effect.Status.IN_DOUBT else None
    values = {"attempt": job.attempt, "error": error, **columns}
    return Effect.objects.create(job=job, name=name, status=status, **values)


def make_lease(worker: str = "worker-1", **columns: Any) -> Lease:
    values: dict[str, Any] = {
        "queues": ["high", "default", "low"],
        "concurrency": 10,
        "hostname": "machine",
        "boot_id": "boot",
        "pid_namespace": "1",
        "parent_pid": 1000,
        "parent_started": 1,
        "horse_pid": 1001,
        "horse_started": 2,
    }
    return Lease.objects.create(id=uuid.uuid4(), worker=worker, **{**values, **columns})


def shortest_life(status: Status) -> list[Event]:
    """The fewest events that lead from a new job to `status`, from the table."""
    lives: list[tuple[Status, list[Event]]] = [(Status.QUEUED, []), (Status.SCHEDULED, [])]
    seen = {Status.QUEUED, Status.SCHEDULED}
    while lives:
        at, events = lives.pop(0)
        if at is status:
            return events
        for row in TRANSITIONS.values():
            if at in row.sources and row.target not in seen:
                seen.add(row.target)
                lives.append((row.target, [*events, row.event]))
    raise AssertionError(f"the table has no way to {status}")


def _new(created_at: dt.datetime, columns: dict[str, Any], *, is_delayed: bool) -> Job:
    job = Job(
        id=uuid_utils.uuid7(), type="echo", queue="default", client="alice", source=Job.Source.API, payload={"value": 1},
        status=Status.SCHEDULED if is_delayed else Status.QUEUED, failures_allowed=5, crashes_allowed=3, max_attempts=5,
        timeout_s=300, created_at=created_at,
    )  # fmt: skip
    job.queued_at, job.run_after = (None, created_at + dt.timedelta(hours=1)) if is_delayed else (created_at, None)
    for name in ("client", "type", "queue"):
        setattr(job, name, columns.get(name, getattr(job, name)))
    return job


def _apply(job: Job, event: Event, at: dt.datetime) -> EventRow:
    """One transition on the row in memory, and its event."""
    row, source = TRANSITIONS[event], job.status
    assert source in row.sources, f"{event} is not allowed in {source}"
    job.status, job.version = row.target, job.version + 1
    actor = row.actors[0]
    error: tuple[str | None, str | None] = (None, None)
    who = {Actor.WORKER: "worker-1", Actor.CLIENT: job.client}.get(actor, str(actor))
    match event:
        case Event.START:
            job.attempt, job.started_at, job.lease = job.attempt + 1, at, make_lease()
        case Event.RETRY | Event.FAIL:
            job.failures += 1
            job.error_code, job.error_message = "ValueError", "the provider said no"
            error = ("ValueError", "Traceback (most recent call last):\n  …\nValueError: the provider said no")
        case Event.EXPIRE:
            job.crashes += 1
        case Event.REQUEST_CANCEL:
            job.cancel_requested_at, job.cancel_requested_by = at, who
        case Event.RERUN:
            job.failures_allowed += job.max_attempts
    if event is Event.RETRY:
        job.run_after = at + STEP
    if event in QUEUES_AGAIN:
        job.queued_at = at
    job.finished_at = at if row.target in FINAL else None
    if event is Event.SUCCEED:
        job.result, job.error_code, job.error_message = {"sent": True}, None, None
    return EventRow(
        job=job, event=event, source=source, target=row.target, attempt=job.attempt, actor=actor, who=who, at=at,
        run_after=job.run_after if row.target == Status.SCHEDULED else None, error_code=error[0], error_text=error[1],
    )  # fmt: skip
