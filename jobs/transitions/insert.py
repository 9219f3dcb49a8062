"""New jobs: the row, its first event, its tags."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from django.db import connection

from jobs.lifecycle import Actor, Event
from jobs.models.clock import NOW, after
from jobs.rows import Row
from jobs.sql import as_raw, as_table, db_id, db_time, run, table
from jobs.transitions.events import CHUNK


@dataclass(slots=True)
class NewJob:
    """What a job starts with. Due at `run_at`, or `delay_s` seconds from now, or at once."""

    id: uuid.UUID
    type: str
    queue: str
    client: str
    source: str
    key: str | None
    payload: str
    """JSON text."""

    options: str
    """JSON text."""

    callback_url: str | None
    max_attempts: int
    max_crashes: int
    timeout_s: int
    run_at: dt.datetime | None = None
    delay_s: float | None = None
    tags: Sequence[str] = ()
    who: str = ""
    actor: Actor = field(default=Actor.CLIENT)

    @property
    def is_due(self) -> bool:
        if self.run_at is not None:
            return self.run_at <= dt.datetime.now(dt.UTC)
        return not self.delay_s


_COLUMNS = (
    "vid uuid", "vtype text", "vqueue text", "vclient text", "vsource text", "vkey text", "vpayload jsonb",
    "voptions jsonb", "vcallback text", "vmax int", "vcrashes int", "vtimeout int", "vstatus text",
    "vrun_at timestamptz", "vdelay float8",
)  # fmt: skip

CHUNK_BYTES = 32 * 1024 * 1024
"""Payloads a statement: PostgreSQL's arrays of JSON hold 256 MB, and a copy or two stand in memory."""


def insert(jobs: Sequence[NewJob]) -> list[Row]:
    """Insert jobs as queued, or as scheduled where they are not due yet; in the order given."""
    rows: list[Row] = []
    for chunk in _chunks(jobs):
        inserted = _insert(chunk)
        _insert_tags(chunk)
        _insert_events(chunk, inserted)
        rows += inserted
    return rows


def _chunks(jobs: Sequence[NewJob]) -> Iterator[Sequence[NewJob]]:
    start, size = 0, 0
    for at, job in enumerate(jobs):
        size += len(job.payload)
        if at - start == CHUNK or (size > CHUNK_BYTES and at > start):
            yield jobs[start:at]
            start, size = at, len(job.payload)
    if jobs[start:]:
        yield jobs[start:]


def _insert(jobs: Sequence[NewJob]) -> list[Row]:
    """One statement. Only what the database decides comes back: times, as text."""
    given = [
        (
            db_id(job.id), job.type, job.queue, job.client, job.source, job.key, job.payload, job.options,
            job.callback_url, job.max_attempts, job.max_crashes, job.timeout_s,
            "queued" if job.is_due else "scheduled", db_time(job.run_at), job.delay_s,
        )
        for job in jobs
    ]  # fmt: skip
    # The given rows take the place of a table, so that one expression can tell the three ways to be due.
    times = {raw[0]: raw[1:] for raw in run(_sql(), [as_table(given)])}
    return [_row(job, values[12], *times[values[0]]) for job, values in zip(jobs, given, strict=True)]


@cache
def _sql() -> str:
    times = ", ".join(as_raw(name) for name in ("created_at", "queued_at", "run_after"))
    return (
        "INSERT INTO jobs_job (id, type, queue, client, source, key, payload, options, callback_url,"
        " max_attempts, failures_allowed, crashes_allowed, timeout_s, status, version, attempt, failures, crashes,"
        " has_effects, created_at, queued_at, run_after)"
        " SELECT vid, vtype, vqueue, vclient, vsource, vkey, vpayload, voptions, vcallback,"
        f" vmax, vmax, vcrashes, vtimeout, vstatus, 1, 0, 0, 0, false, {NOW},"
        f" CASE WHEN vstatus = 'queued' THEN {NOW} END,"
        f" CASE WHEN vdelay IS NULL THEN vrun_at ELSE {after('vdelay')} END"
        f" FROM ({table(*_COLUMNS)}) AS v RETURNING id, {times}"
    )


def _row(job: NewJob, status: str, created_at: Any, queued_at: Any, run_after: Any) -> Row:
    return Row(
        id=job.id,
        type=job.type,
        queue=job.queue,
        client=job.client,
        key=job.key,
        status=status,
        version=1,
        attempt=0,
        failures=0,
        failures_allowed=job.max_attempts,
        crashes=0,
        crashes_allowed=job.max_crashes,
        max_attempts=job.max_attempts,
        created_at=created_at,
        run_after=run_after,
        queued_at=queued_at,
        started_at=None,
        finished_at=None,
        progress=None,
        result=None,
        error_code=None,
        error_message=None,
        callback_url=job.callback_url,
        lease_id=None,
        has_effects=False,
    )


def _insert_tags(jobs: Sequence[NewJob]) -> None:
    pairs = [(job.id, tag) for job in jobs for tag in job.tags]
    if not pairs:
        return
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO jobs_jobtag (job_id, tag) VALUES (%s, %s)", [(db_id(job_id), tag) for job_id, tag in pairs]
        )


def _insert_events(jobs: Sequence[NewJob], rows: Sequence[Row]) -> None:
    """As `insert_events`, of which the first event of a job needs little."""
    given = [
        (db_id(row.id), row.status, job.who or job.client, None if row.status == "queued" else row.run_after, job.actor)
        for job, row in zip(jobs, rows, strict=True)
    ]
    run(_events_sql(), [as_table(given)])


@cache
def _events_sql() -> str:
    source = table("job_id uuid", "target text", "who text", "run_after timestamptz", "actor text")
    return (
        "INSERT INTO jobs_event (job_id, target, who, run_after, actor, attempt, event, at)"
        f" SELECT v.*, 0, '{Event.SUBMIT}', {NOW} FROM ({source}) AS v"
    )
