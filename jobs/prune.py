"""Prune: delete what its retention no longer keeps, in small commits that disturb nobody.

A finished job goes with its events, effects, log and tags, and leaves a tombstone in its idempotency
key in the same commit, so that a replay is still answered. A job with an effect whose truth is not
known is never pruned.
"""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from django.db import models
from django.db.models import Exists, OuterRef, Q, QuerySet

from jobs.conf import conf
from jobs.database import atomic
from jobs.documents import status_document
from jobs.lifecycle import Status
from jobs.models import DroppedSlots, Effect, Event, IdempotencyKey, Job, JobTag, Lease, LogLine, MinuteStat, clock
from jobs.sql import as_table, db_id, in_few, run, table

CHUNK = 50
"""Rows a commit. A job brings about ten rows of other tables with it, and on SQLite a commit holds the only
write lock: 50 jobs take some 10 ms, which an accepting request hardly notices."""

PAUSE_S = 0.03
"""After each commit: SQLite's waiting writers look again after at most 25 ms in their first tenth of a second."""

FAILED_KEPT_TIMES = 3
LEASE_KEPT = dt.timedelta(days=1)

OPEN_EFFECTS = (Effect.Status.EXECUTING, Effect.Status.IN_DOUBT)


@dataclass
class Counts:
    jobs: int = 0
    keys: int = 0
    stats: int = 0
    leases: int = 0
    drops: int = 0
    """Records of slots that a schedule's policies dropped."""


def prune(now: dt.datetime | None = None, *, on_chunk: Callable[[Counts], None] | None = None) -> Counts:
    """Delete everything that is older than its retention; what was deleted. `on_chunk` hears of each commit."""
    now = now or clock.now()
    counts = Counts()
    for name, chunks in (
        ("jobs", _prune_jobs(now)),
        ("keys", _delete_all(IdempotencyKey.objects, _old_keys(now))),
        ("stats", _delete_all(MinuteStat.objects, _old_stats(now))),
        ("leases", _delete_all(Lease.objects, _old_leases(now))),
        ("drops", _delete_all(DroppedSlots.objects, _old_drops(now))),
    ):
        for deleted in chunks:
            setattr(counts, name, getattr(counts, name) + deleted)
            if on_chunk is not None:
                on_chunk(counts)
            time.sleep(PAUSE_S)
    return counts


def would_prune(now: dt.datetime | None = None) -> Counts:
    """What `prune` would delete, as things are. Keys of the jobs that would go are not counted."""
    now = now or clock.now()
    olds = (_old_jobs(now), _old_keys(now), _old_stats(now), _old_leases(now), _old_drops(now))
    return Counts(*(old.count() for old in olds))


def _old_jobs(now: dt.datetime) -> QuerySet[Job]:
    """Only final ones have finished. Said without naming the others, so that the index on finished_at is searched."""
    kept = dt.timedelta(days=conf().job_retention_days)
    open_effects = Effect.objects.filter(job_id=OuterRef("pk"), status__in=OPEN_EFFECTS)
    return Job.objects.filter(
        ~Q(status=Status.FAILED, finished_at__gte=now - FAILED_KEPT_TIMES * kept),
        ~Q(has_effects=True) | ~Exists(open_effects),
        finished_at__lt=now - kept,
    ).order_by()


def _old_keys(now: dt.datetime) -> QuerySet[IdempotencyKey]:
    """A key stays as long as its job, whatever its age: without it the job could be created twice."""
    before = now - dt.timedelta(days=conf().key_retention_days)
    its_job = Job.objects.filter(pk=OuterRef("job_id"))
    return IdempotencyKey.objects.filter(~Exists(its_job), created_at__lt=before).order_by()


def _old_stats(now: dt.datetime) -> QuerySet[MinuteStat]:
    return MinuteStat.objects.filter(minute__lt=now - dt.timedelta(days=conf().stats_retention_days)).order_by()


def _old_leases(now: dt.datetime) -> QuerySet[Lease]:
    """Revoked ones under which nothing runs: housekeeping still needs the others."""
    running = Job.objects.filter(lease_id=OuterRef("pk"), status=Status.RUNNING)
    return Lease.objects.filter(~Exists(running), revoked_at__lt=now - LEASE_KEPT).order_by()


def _old_drops(now: dt.datetime) -> QuerySet[DroppedSlots]:
    """As long as the jobs of the slots that were not dropped. The oldest ids are the oldest rows, so a chunk is found
    without an index on the time; only a turn that finds none reads the table."""
    before = now - dt.timedelta(days=conf().job_retention_days)
    return DroppedSlots.objects.filter(at__lt=before).order_by("pk")


def _prune_jobs(now: dt.datetime) -> Iterator[int]:
    """The longest finished first. Each chunk is looked for from where the last one ended, past the failed ones that are
    kept longer. What others have locked is left to the next run."""
    since = dt.datetime.min.replace(tzinfo=dt.UTC)
    locked: set[uuid.UUID] = set()
    while True:
        old = _old_jobs(now).filter(finished_at__gte=since).exclude(pk__in=locked)
        jobs = list(old.order_by("finished_at")[:CHUNK])
        if not jobs:
            return
        deleted = _delete_jobs(jobs, now)
        locked |= {job.pk for job in jobs} - deleted
        if deleted:
            yield len(deleted)
        since = jobs[-1].finished_at or since


def _delete_jobs(jobs: Sequence[Job], now: dt.datetime) -> set[uuid.UUID]:
    """Those that could be deleted, in one commit. The rows were read before it and are judged again under their locks: somebody may run a finished
    job anew meanwhile."""
    tombstones = {job.pk: orjson.dumps(tombstone(job)).decode() for job in jobs if job.key is not None}
    with atomic():
        locked = _old_jobs(now).filter(pk__in=[job.pk for job in jobs]).select_for_update(skip_locked=True)
        ids = list(locked.values_list("pk", flat=True))
        ids = sorted(set(ids) - _keys_locked_elsewhere(ids))
        _leave_tombstones({job_id: tombstones[job_id] for job_id in ids if job_id in tombstones})
        for model in (Event, Effect, LogLine, JobTag):
            _delete(model.objects.filter(job_id__in=ids))
        _delete(Job.objects.filter(pk__in=ids))
    return set(ids)


def _keys_locked_elsewhere(ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Lock the keys of those jobs, in which the tombstones are left; the jobs whose key somebody else has locked."""
    their = IdempotencyKey.objects.filter(job_id__in=ids).values_list("job_id", flat=True)
    return set(their) - set(their.select_for_update(skip_locked=True))


def _leave_tombstones(tombstones: dict[uuid.UUID, str]) -> None:
    """One UPDATE for all keys: Django's bulk_update takes longer than everything else here."""
    if tombstones:
        run(
            f"WITH v AS ({table('vid uuid', 'vdocument jsonb')})"
            " UPDATE jobs_idempotencykey SET tombstone = vdocument FROM v"
            f" WHERE job_id = vid AND job_id {in_few('SELECT vid FROM v')}",
            [as_table([(db_id(job_id), document) for job_id, document in tombstones.items()])],
        )


def tombstone(job: Job) -> dict[str, Any]:
    """The last status document, without what a client or a handler may have put into it."""
    document = status_document(job) | {"result": None, "progress": None}
    if document["error"] is not None:
        document["error"] = {"code": document["error"]["code"], "message": ""}
    return document


def _delete_all(manager: models.Manager[Any], old: QuerySet[Any]) -> Iterator[int]:
    """In chunks, each in a commit; what others have locked is left to the next run."""
    locked: set[Any] = set()
    while ids := set(old.exclude(pk__in=locked).values_list("pk", flat=True)[:CHUNK]):
        with atomic():
            free = set(manager.filter(pk__in=ids).select_for_update(skip_locked=True).values_list("pk", flat=True))
            deleted = _delete(manager.filter(pk__in=free))
        locked |= ids - free
        if deleted:
            yield deleted


def _delete(rows: QuerySet[Any]) -> int:
    """One DELETE: what hangs on the rows is deleted by name above, so nothing has to be collected first."""
    return rows._raw_delete(rows.db)
