"""New jobs: the row, its first event, its tags."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

from jobs.lifecycle import Actor, Event
from jobs.models.clock import NOW, after
from jobs.rows import COLUMNS, Row, db_id, db_time, fetch, values
from jobs.transitions.events import CHUNK, insert_events


@dataclass(frozen=True, slots=True)
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


_TYPES = (
    "uuid", "text", "text", "text", "text", "text", "jsonb", "jsonb", "text", "int", "int", "int", "text",
    "timestamptz", "float8",
)  # fmt: skip


def insert(jobs: Sequence[NewJob]) -> list[Row]:
    """Insert jobs as queued, or as scheduled where they are not due yet; in the order given."""
    rows: dict[uuid.UUID, Row] = {}
    for start in range(0, len(jobs), CHUNK):
        chunk = jobs[start : start + CHUNK]
        parameters: list[Any] = []
        for job in chunk:
            parameters += [
                db_id(job.id), job.type, job.queue, job.client, job.source, job.key, job.payload, job.options,
                job.callback_url, job.max_attempts, job.max_crashes, job.timeout_s,
                "queued" if job.is_due else "scheduled", db_time(job.run_at), job.delay_s,
            ]  # fmt: skip
        # The VALUES take the place of a table, so that one expression can tell the three ways to be due.
        found = fetch(
            "WITH v (vid, vtype, vqueue, vclient, vsource, vkey, vpayload, voptions, vcallback, vmax, vcrashes,"
            f" vtimeout, vstatus, vrun_at, vdelay) AS ({values(_TYPES, len(chunk))})"
            " INSERT INTO jobs_job (id, type, queue, client, source, key, payload, options, callback_url,"
            " max_attempts, failures_allowed, crashes_allowed, timeout_s, status, version, attempt, failures, crashes,"
            " has_effects, created_at, queued_at, run_after)"
            " SELECT vid, vtype, vqueue, vclient, vsource, vkey, vpayload, voptions, vcallback,"
            f" vmax, vmax, vcrashes, vtimeout, vstatus, 1, 0, 0, 0, false, {NOW},"
            f" CASE WHEN vstatus = 'queued' THEN {NOW} END,"
            f" CASE WHEN vdelay IS NULL THEN vrun_at ELSE {after('vdelay')} END"
            f" FROM v RETURNING {COLUMNS}",
            parameters,
        )
        rows.update((row.id, row) for row in found)
        _insert_tags(chunk)
    who = {job.id: job.who or job.client for job in jobs}
    by_actor: dict[Actor, list[Row]] = {}
    for job in jobs:
        by_actor.setdefault(job.actor, []).append(rows[job.id])
    for actor, some in by_actor.items():
        insert_events(Event.SUBMIT, some, actor=actor, who=who, source=None)
    return [rows[job.id] for job in jobs]


def _insert_tags(jobs: Sequence[NewJob]) -> None:
    pairs = [(job.id, tag) for job in jobs for tag in job.tags]
    if not pairs:
        return
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO jobs_jobtag (job_id, tag) VALUES (%s, %s)", [(db_id(job_id), tag) for job_id, tag in pairs]
        )
