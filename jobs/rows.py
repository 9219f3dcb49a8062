"""Rows of jobs as tuples, and the few places where SQLite and PostgreSQL want different SQL.

The paths that every job takes (submit, claim, finish) use raw SQL with many rows a statement; this
module keeps what they share. JSON columns stay text on the way through: nobody parses a result only to
write it into the mirror.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import orjson
from django.db import connection

from jobs.documents import error_document, isotime, links
from jobs.models.clock import parse


class Row(NamedTuple):
    """What transitions return of a job. Times are as the database gave them (see `clock.parse`)."""

    id: uuid.UUID
    type: str
    queue: str
    client: str
    key: str | None
    status: str
    version: int
    attempt: int
    failures: int
    failures_allowed: int
    crashes: int
    crashes_allowed: int
    max_attempts: int
    created_at: Any
    run_after: Any
    queued_at: Any
    started_at: Any
    finished_at: Any
    progress: str | None
    result: str | None
    error_code: str | None
    error_message: str | None
    callback_url: str | None
    lease_id: uuid.UUID | None
    has_effects: bool

    @property
    def document(self) -> dict[str, Any]:
        """The status document, to be serialised by orjson: JSON columns are fragments."""
        return {
            "id": str(self.id),
            "type": self.type,
            "status": self.status,
            "attempt": self.attempt,
            "failures": self.failures,
            "crashes": self.crashes,
            "maxAttempts": self.max_attempts,
            "queue": self.queue,
            "progress": _fragment(self.progress),
            "createdAt": isotime(parse(self.created_at)),
            "runAfter": isotime(parse(self.run_after)),
            "startedAt": isotime(parse(self.started_at)),
            "finishedAt": isotime(parse(self.finished_at)),
            "result": _fragment(self.result),
            "error": error_document(self.error_code, self.error_message),
            "idempotencyKey": self.key,
            "links": links(self.id),
        }


COLUMNS = ", ".join(Row._fields)


def mirror_entry(row: Row, progress_number: int = 0, progress: dict[str, Any] | None = None) -> tuple[str, str, bytes]:
    """What the script writes into the mirror: id, 16 hex digits of version and progress, the document after its `v`.

    `progress` is that of an attempt which goes on; otherwise the row's own is taken.
    """
    document = row.document
    if progress is not None:
        document["progress"] = progress
    body = orjson.dumps({"owner": row.client, "status": document})
    return str(row.id), f"{row.version:08x}{progress_number:08x}", body[1:]


def _fragment(text: str | None) -> orjson.Fragment | None:
    return None if text is None else orjson.Fragment(text)


@cache
def is_postgresql() -> bool:
    """Asked several times a row, and the same for the life of a process."""
    return connection.vendor == "postgresql"


def db_id(value: uuid.UUID) -> Any:
    """A UUID as a parameter of raw SQL."""
    return value if is_postgresql() else value.hex


def py_id(value: Any) -> uuid.UUID:
    """A UUID as raw SQL returned it."""
    return value if isinstance(value, uuid.UUID) else uuid.UUID(value)


def db_time(moment: dt.datetime | None) -> Any:
    """A time as a parameter of raw SQL."""
    return None if moment is None else connection.ops.adapt_datetimefield_value(moment)


def values(types: Sequence[str], count: int) -> str:
    """`VALUES` with `count` rows of parameters, typed for PostgreSQL, which cannot guess from NULLs."""
    marks = [f"CAST(%s AS {kind})" for kind in types] if is_postgresql() else ["%s"] * len(types)
    row = "(" + ", ".join(marks) + ")"
    return "VALUES " + ", ".join([row] * count)


def marks(count: int) -> str:
    """`%s, %s, …` for an IN list."""
    return ", ".join(["%s"] * count)


def fetch(sql: str, parameters: Sequence[Any]) -> list[Row]:
    """Run SQL that returns COLUMNS."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        found = cursor.fetchall()
    return [make_row(raw) for raw in found]


def make_row(raw: Sequence[Any]) -> Row:
    """A Row of what raw SQL returned for COLUMNS."""
    if is_postgresql():
        return Row._make(raw)
    lease_id = None if raw[23] is None else uuid.UUID(raw[23])
    return Row._make((uuid.UUID(raw[0]), *raw[1:23], lease_id, bool(raw[24])))


def for_update(*, skip_locked: bool = False) -> str:
    """SQLite needs no row lock: every writing transaction is immediate and so alone."""
    if not is_postgresql():
        return ""
    return " FOR UPDATE SKIP LOCKED" if skip_locked else " FOR UPDATE"
