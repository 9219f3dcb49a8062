"""Why is it not running? One answer for the API, the admin and `manage.py why`.

Reads the database for everything but Redis itself. What it says is a snapshot: it may be over by the
time somebody reads it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from jobs import queue
from jobs.conf import conf
from jobs.documents import isotime
from jobs.lifecycle import Status
from jobs.models import Effect, Housekeeping, Job, Lease, QueueState, clock, heard_leases

Answer = dict[str, str]

MOST_AHEAD = 1000
"""Jobs ahead are counted up to here: counting a backlog of a million would take longer than it is worth."""

LATE = dt.timedelta(seconds=5)
"""Beyond this a due job that housekeeping did not promote means that nobody does the housekeeping."""


def waiting(job: Job) -> Answer | None:
    """`{code, sentence, nextStep}` of a job that is not final; None when it is over."""
    match job.status:
        case Status.SCHEDULED:
            return _scheduled(job)
        case Status.QUEUED:
            return _queued(job)
        case Status.RUNNING:
            return _running(job)
        case Status.IN_DOUBT:
            return _in_doubt(job)
        case _:
            return None


def _answer(code: str, sentence: str, next_step: str) -> Answer:
    return {"code": code, "sentence": sentence, "nextStep": next_step}


def _scheduled(job: Job) -> Answer:
    now = clock.now()
    due = job.run_after or now
    if due + LATE < now and not _is_kept_house(now):
        return _answer(
            "no-housekeeping",
            f"It is due since {isotime(due)}, but no worker or scheduler promotes due jobs.",
            "Start a worker (`python manage.py rqworker`) or a scheduler (`python manage.py rqscheduler`).",
        )
    if job.failures or job.crashes:
        ended = f"{job.failures} of {job.failures_allowed} failures and {job.crashes} of {job.crashes_allowed} crashes"
        return _answer(
            "not-due",
            f"Its next attempt is due at {isotime(due)}, after {ended}; the last error: {job.error_code or 'unknown'}."
            f"{_not_served(job, now)}",
            "Wait, or promote it in the admin to try again now.",
        )
    said = f"It is not due until {isotime(due)}.{_not_served(job, now)}"
    return _answer("not-due", said, "Wait, or promote it in the admin to run it now.")


def _not_served(job: Job, now: dt.datetime) -> str:
    """A second sentence, for a job that will wait when its time comes: its queue left the settings."""
    if job.queue in conf().queues or any(job.queue in lease.queues for lease in heard_leases(now)):
        return ""
    return f" JOBS_QUEUES does not name its queue {job.queue}, and no worker serves it."


def _is_kept_house(now: dt.datetime) -> bool:
    return Housekeeping.objects.filter(expires_at__gt=now).exists()


def _queued(job: Job) -> Answer:
    """The first thing that is in its way, from what stops everything to what only takes its time."""
    paused = QueueState.objects.filter(name=job.queue, paused_at__isnull=False).first()
    if paused is not None:
        return _answer(
            "paused",
            f"The queue {job.queue} has been paused by {paused.paused_by or 'somebody'} since {isotime(paused.paused_at)}.",
            f"Resume the queue: `python manage.py queues resume {job.queue}`.",
        )
    live = [lease for lease in heard_leases(clock.now()) if job.queue in lease.queues]
    if not live:
        return _no_worker(job)
    return _broker_in_the_way() or _busy_or_behind(job, live)


def _no_worker(job: Job) -> Answer:
    silent = [lease for lease in Lease.objects.filter(revoked_at__isnull=True) if job.queue in lease.queues]
    said = f"No worker serves the queue {job.queue}"
    if silent:
        latest = max(silent, key=lambda lease: lease.renewed_at)
        said += f"; {latest.worker} did, but has been silent since {isotime(latest.renewed_at)}"
    start = f"Start one: `python manage.py rqworker {job.queue}`"
    if job.queue in conf().queues:
        return _answer("no-worker", f"{said}.", f"{start}.")
    move = f"or give its jobs a queue that has workers: `python manage.py queues move {job.queue} {conf().queues[0]}`"
    return _answer("no-worker", f"{said}, and JOBS_QUEUES does not name it.", f"{start}; {move}.")


def _broker_in_the_way() -> Answer | None:
    try:
        is_suspended = bool(queue.broker().exists(queue.SUSPENDED))
    except Exception:
        return _answer(
            "broker-unreachable",
            "Redis does not answer, so workers look for jobs in the database, which takes longer; nothing is lost.",
            "Wait, and bring Redis back (`python manage.py doctor` says more).",
        )
    if is_suspended:
        return _answer(
            "suspended", "All workers have been suspended through RQ.", "Undo it: `python manage.py queues unsuspend`."
        )
    return None


def _busy_or_behind(job: Job, leases: Sequence[Lease]) -> Answer:
    ahead = _ahead_of(job)
    threads = sum(lease.concurrency for lease in leases)
    holders = Job.objects.filter(status=Status.RUNNING, lease__in=[lease.pk for lease in leases])
    held = list(holders.order_by("started_at").values_list("type", "id", "started_at")[:threads])
    if len(held) >= threads:
        named = ", ".join(f"{type} {id} since {isotime(at)}" for type, id, at in held[:3])
        others = f" and {len(held) - 3} more" if len(held) > 3 else ""
        return _answer(
            "threads-busy",
            f"All {threads} handler threads that serve {job.queue} are held, by {named}{others}; {ahead.text} ahead.",
            "Wait, start another worker (`python manage.py rqworker`), or cancel what holds them.",
        )
    if ahead.count:
        return _answer(
            "ahead",
            f"{ahead.text} ahead of it in {job.queue}.",
            "Wait, or start another worker to go faster: `python manage.py rqworker`.",
        )
    return _answer("next", f"It is the next one in {job.queue}; a worker takes it in a moment.", "Look again.")


@dataclass(frozen=True)
class Ahead:
    count: int

    @property
    def text(self) -> str:
        if self.count > MOST_AHEAD:
            return f"more than {MOST_AHEAD:,} jobs are"
        return "1 job is" if self.count == 1 else f"{self.count or 'no'} jobs are"


def _ahead_of(job: Job) -> Ahead:
    before = Job.objects.filter(status=Status.QUEUED, queue=job.queue, queued_at__lt=job.queued_at).order_by(
        "queued_at"
    )
    return Ahead(before[: MOST_AHEAD + 1].count())


def _running(job: Job) -> Answer:
    lease = Lease.objects.filter(pk=job.lease_id).first() if job.lease_id else None
    worker = lease.worker if lease else "a worker that is gone"
    if job.cancel_requested_at is not None:
        return _answer(
            "cancel-requested",
            f"Attempt {job.attempt} runs on {worker} and was asked to stop by {job.cancel_requested_by}"
            f" at {isotime(job.cancel_requested_at)}.",
            f"Wait: it ends when its handler looks at job.should_stop, or at its timeout of {job.timeout_s} s.",
        )
    return _answer(
        "running",
        f"It is running: attempt {job.attempt} on {worker} since {isotime(job.started_at)}.",
        f"Wait; an attempt may take {job.timeout_s} s.",
    )


def _in_doubt(job: Job) -> Answer:
    effect = Effect.objects.filter(job=job, status=Effect.Status.IN_DOUBT).order_by("id").first()
    if effect is None:
        return _answer("effect-in-doubt", "It waits for a person.", "See `python manage.py effects list`.")
    return _answer(
        "effect-in-doubt",
        f"Whether its effect {effect.name} happened is in doubt since {isotime(effect.ended_at or effect.reserved_at)}.",
        f"Find out, then settle it: `python manage.py effects settle {job.id} {effect.name} --done --evidence HOW-YOU-KNOW`, or with `--not-done`.",
    )
