"""New jobs: their idempotency keys, the rows, their first events, their tags."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from jobs import keys
from jobs.database import connection
from jobs.lifecycle import Actor, Event
from jobs.models.clock import NOW, after
from jobs.rows import Row
from jobs.sql import as_raw, as_table, db_id, db_time, is_postgresql, run, table
from jobs.transitions.events import CHUNK


@dataclass(slots=True)
class NewJob:
    """What a job starts with. Due at `run_at`, or `delay_s` seconds from now, or at once: the database's clock decides."""

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
    canonical: bytes | None = None
    """The canonical request. With it the job takes its key, and is inserted only where that was free."""

    run_at: dt.datetime | None = None
    delay_s: float | None = None
    tags: Sequence[str] = ()
    who: str = ""
    actor: Actor = field(default=Actor.CLIENT)


_COLUMNS = (
    "vid uuid", "vtype text", "vqueue text", "vclient text", "vsource text", "vkey text", "vpayload jsonb",
    "voptions jsonb", "vcallback text", "vmax int", "vcrashes int", "vtimeout int", "vrun_at timestamptz",
    "vdelay float8",
)  # fmt: skip

_MORE_COLUMNS = ("vwho text", "vactor text", "vnth int")
"""What else the key and the event need."""

_TIMES = ("created_at", "queued_at", "run_after")

CHUNK_BYTES = 32 * 1024 * 1024
"""Payloads a statement: PostgreSQL's arrays of JSON hold 256 MB, and a copy or two stand in memory."""


def insert(jobs: Sequence[NewJob]) -> list[Row]:
    """Insert jobs as queued, or as scheduled where they are not due yet; in the order given. The rows of those that
    were inserted: all but those whose key was taken."""
    new_keys = sorted([(job.client, job.key or "", job.id, job.canonical) for job in jobs if job.canonical is not None])
    if is_postgresql() and len(list(_chunks(jobs))) == 1:
        rows = _insert_at_once(jobs, new_keys)
    else:
        rows = _insert_in_steps(jobs, new_keys)
    _insert_tags(jobs, {row.id for row in rows})
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


def _insert_at_once(jobs: Sequence[NewJob], new_keys: Sequence[keys.NewKey]) -> list[Row]:
    """One statement, which SQLite does not know: each statement is a round trip, which a lone request waits for."""
    numbers = {key[2]: nth for nth, key in enumerate(new_keys)}
    given = [(*_values(job), job.who or job.client, job.actor, numbers.get(job.id)) for job in jobs]
    secrets = [keys.secrets_of(new_keys)] * 2 if new_keys else []
    return _rows(jobs, given, run(_at_once_sql(bool(new_keys)), [as_table(given), *secrets]))


def _insert_in_steps(jobs: Sequence[NewJob], new_keys: Sequence[keys.NewKey]) -> list[Row]:
    """Three statements a chunk. All keys come before any job, since their order is another than that of the jobs: chunks
    with their keys would make two large batches wait for each other."""
    won = keys.insert_keys(new_keys)
    rows: list[Row] = []
    for chunk in _chunks([job for job in jobs if job.canonical is None or job.id in won]):
        given = [_values(job) for job in chunk]
        inserted = _rows(chunk, given, run(_jobs_sql(), [as_table(given)]))
        _insert_events(chunk, inserted)
        rows += inserted
    return rows


def _values(job: NewJob) -> tuple[Any, ...]:
    """Of `_COLUMNS`."""
    return (
        db_id(job.id), job.type, job.queue, job.client, job.source, job.key, job.payload, job.options,
        job.callback_url, job.max_attempts, job.max_crashes, job.timeout_s, db_time(job.run_at), job.delay_s,
    )  # fmt: skip


def _rows(jobs: Sequence[NewJob], given: Sequence[tuple[Any, ...]], returned: Sequence[Any]) -> list[Row]:
    """Only what the database decides comes back: which jobs, and their times as text."""
    times = {raw[0]: raw[1:] for raw in returned}
    return [_row(job, *times[it[0]]) for job, it in zip(jobs, given, strict=True) if it[0] in times]


@cache
def _at_once_sql(has_keys: bool) -> str:
    """The parts see the database as it was before all of them, and of each other only what they return.

    Keys are inserted in their own order, by `vnth`, and jobs in the order given. Where there are no keys, their part
    would cost about as much as all of this saves."""
    k = f" k AS ({keys.inserting('v WHERE vnth IS NOT NULL ORDER BY vnth')})," if has_keys else ""
    free = " WHERE vnth IS NULL OR vid IN (SELECT job_id FROM k)" if has_keys else ""
    due = "status AS vstatus, CASE WHEN status = 'scheduled' THEN run_after END AS vdue"
    return (
        f"WITH v AS MATERIALIZED ({table(*_COLUMNS, *_MORE_COLUMNS)}),{k}"
        f" j AS ({_inserting_jobs(f'v{free}')} RETURNING id, {', '.join(_TIMES)}, {due}),"
        f" e AS ({_inserting_events('j JOIN v ON vid = id')})"
        f" SELECT id, {_times_as_text()} FROM j"
    )


@cache
def _jobs_sql() -> str:
    return f"{_inserting_jobs(f'({table(*_COLUMNS)}) AS v')} RETURNING id, {_times_as_text()}"


def _times_as_text() -> str:
    return ", ".join(as_raw(name) for name in _TIMES)


def _inserting_jobs(rows: str) -> str:
    """The given rows take the place of a table, so that one expression can tell the three ways to be due.

    The clock is read once for each row, so that status and times agree. The LIMIT keeps SQLite from putting the
    expression in each place that names it."""
    limit = "" if is_postgresql() else " LIMIT -1"
    waits = "(vdelay > 0 OR vrun_at > vnow)"
    return (
        "INSERT INTO jobs_job (id, type, queue, client, source, key, payload, options, callback_url,"
        " max_attempts, failures_allowed, crashes_allowed, timeout_s, status, version, attempt, failures, crashes,"
        " has_effects, created_at, queued_at, run_after)"
        " SELECT vid, vtype, vqueue, vclient, vsource, vkey, vpayload, voptions, vcallback,"
        f" vmax, vmax, vcrashes, vtimeout, CASE WHEN {waits} THEN 'scheduled' ELSE 'queued' END,"
        f" 1, 0, 0, 0, false, vnow, CASE WHEN {waits} THEN NULL ELSE vnow END,"
        f" CASE WHEN vdelay IS NULL THEN vrun_at ELSE {after('vdelay')} END"
        f" FROM (SELECT *, {NOW} AS vnow FROM {rows}{limit}) AS timed"
    )


def _row(job: NewJob, created_at: Any, queued_at: Any, run_after: Any) -> Row:
    status = "scheduled" if queued_at is None else "queued"
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


def _insert_tags(jobs: Sequence[NewJob], inserted: Set[uuid.UUID]) -> None:
    pairs = [(db_id(job.id), tag) for job in jobs if job.tags and job.id in inserted for tag in job.tags]
    if not pairs:
        return
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO jobs_jobtag (job_id, tag) VALUES (%s, %s)", pairs)


def _insert_events(jobs: Sequence[NewJob], rows: Sequence[Row]) -> None:
    given = [
        (db_id(row.id), row.status, job.who or job.client, None if row.status == "queued" else row.run_after, job.actor)
        for job, row in zip(jobs, rows, strict=True)
    ]
    run(_events_sql(), [as_table(given)])


@cache
def _events_sql() -> str:
    source = table("vid uuid", "vstatus text", "vwho text", "vdue timestamptz", "vactor text")
    return _inserting_events(f"({source}) AS v")


def _inserting_events(rows: str) -> str:
    """As `insert_events`, of which the first event of a job needs little."""
    return (
        "INSERT INTO jobs_event (job_id, target, who, run_after, actor, attempt, event, at)"
        f" SELECT vid, vstatus, vwho, vdue, vactor, 0, '{Event.SUBMIT}', {NOW} FROM {rows}"
    )
