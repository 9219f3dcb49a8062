"""Watching jobs from outside while real processes run them, and the laws that hold after every fault."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jobs
from jobs import process
from jobs.lifecycle import FINAL, TRANSITIONS
from jobs.models import Event, Job, Lease
from tests.support.eventually import eventually
from tests.support.world import World


def echo(
    *, queue: str | None = None, delay_s: float | None = None, timeout_s: int | None = None, **payload: Any
) -> uuid.UUID:
    return jobs.submit("echo", payload, queue=queue, delay_s=delay_s, timeout_s=timeout_s).id


def submit(type_name: str, *, timeout_s: int | None = None, **payload: Any) -> uuid.UUID:
    return jobs.submit(type_name, payload, timeout_s=timeout_s).id


def reached(job_id: uuid.UUID, *statuses: str, timeout_s: float = 20) -> Job:
    """The job as soon as it has one of the statuses."""

    def look() -> Job:
        job = Job.objects.get(pk=job_id)
        assert job.status in statuses, f"{job} is {job.status}, not {statuses}: {story(job_id)} {job.error_message}"
        return job

    return eventually(look, timeout_s=timeout_s)


def all_reached(ids: Iterable[uuid.UUID], status: str, timeout_s: float = 20) -> None:
    wanted = set(ids)

    def look() -> bool:
        found = Counter(Job.objects.filter(pk__in=wanted).values_list("status", flat=True))
        assert found == {status: len(wanted)}, found
        return True

    eventually(look, timeout_s=timeout_s, every_s=0.05)


def story(job_id: uuid.UUID) -> list[str]:
    """The events of a job, in order."""
    return list(Event.objects.filter(job_id=job_id).order_by("id").values_list("event", flat=True))


def budgets(job_id: uuid.UUID) -> tuple[int, int, int]:
    """(attempt, failures, crashes)."""
    job = Job.objects.get(pk=job_id)
    return job.attempt, job.failures, job.crashes


def starts(job_id: uuid.UUID) -> int:
    return Event.objects.filter(job_id=job_id, event="start").count()


def live_lease(worker: str | None = None) -> Lease:
    """The one live lease (of that worker), as soon as its horse is known."""

    def look() -> Lease:
        found = Lease.objects.filter(revoked_at=None, horse_pid__isnull=False)
        (lease,) = found.filter(worker=worker) if worker else found
        return lease

    def patiently() -> Lease | None:
        try:
            return look()
        except ValueError:
            return None

    found = eventually(patiently, timeout_s=20)
    assert found is not None
    return found


def horse_pid(worker: str | None = None) -> int:
    pid = live_lease(worker).horse_pid
    assert pid is not None
    return pid


def kill(pid: int, signum: signal.Signals = signal.SIGKILL) -> float:
    """Send the signal; the moment at which it was sent."""
    at = time.monotonic()
    os.kill(pid, signum)
    return at


def is_gone(pid: int) -> bool:
    return process.state(pid) in ("", "Z", "X")


def descendants(pid: int) -> list[int]:
    """All processes below a process, at this moment."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def _at_one_moment(job_id: uuid.UUID) -> tuple[Job, list[Event]]:
    """A job with its events, though workers may still move it."""
    while True:
        before = Job.objects.get(pk=job_id)
        events = list(Event.objects.filter(job=job_id).order_by("id"))
        if Job.objects.get(pk=job_id).version == before.version:
            return before, events


def assert_lawful(world: World, ids: Iterable[uuid.UUID] | None = None) -> None:
    """I3, I5, I6 and I11 of these jobs, or of all: legal transitions, growing attempts, budgets, the ledger."""
    lines: Counter[tuple[str, ...]] = Counter(tuple(line[:2]) for line in world.ledger())
    keys = {(line[0], line[4]) for line in world.ledger()}
    wanted = Job.objects.all() if ids is None else Job.objects.filter(pk__in=list(ids))
    for job_id in list(wanted.values_list("pk", flat=True)):
        job, events = _at_one_moment(job_id)
        status, attempt = None, 0
        for event in events:
            if event.event == "submit":
                assert status is None
            else:
                transition = TRANSITIONS[event.event]
                assert event.source == status, (job, [e.event for e in events])
                assert status in transition.sources
                assert event.target == transition.target
                assert event.actor in transition.actors
            attempt += event.event == "start"
            assert event.attempt == attempt
            status = event.target
        assert job.status == status
        assert job.attempt == attempt
        assert job.failures <= job.failures_allowed
        assert job.crashes <= job.crashes_allowed
        assert (job.finished_at is not None) == (job.status in FINAL)
        on_doubt = job.payload.get("onDoubt", "hold") if isinstance(job.payload, dict) else "hold"
        for (job_id, name), count in lines.items():
            if job_id == str(job.id):
                assert count == 1 or on_doubt == "repeat", (job_id, name, count)
                assert len([key for key in keys if key[0] == job_id]) == 1
    known = {str(job_id) for job_id in Job.objects.values_list("id", flat=True)}
    assert {line[0] for line in lines} <= known
