"""Rows of jobs as tuples: what transitions return, and what the mirror and the API make of them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import cache, lru_cache
from sys import intern
from typing import Any, NamedTuple

import orjson

from jobs.documents import error_document
from jobs.sql import as_raw, as_text, id_text, is_postgresql, py_id, run


class Row(NamedTuple):
    """What transitions return of a job. Times are text (see `as_raw`)."""

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
    created_at: str | None
    run_after: str | None
    queued_at: str | None
    started_at: str | None
    finished_at: str | None
    progress: str | None
    result: str | None
    error_code: str | None
    error_message: str | None
    callback_url: str | None
    lease_id: uuid.UUID | None
    has_effects: bool
    place: int | None = None
    """SQLite's rowid, which finds the row in one step instead of two; VACUUM may give it to another one."""

    @property
    def document(self) -> dict[str, Any]:
        """The status document without links, to be serialised by orjson: JSON columns are fragments."""
        return {
            "id": id_text(self.id),
            "type": self.type,
            "status": self.status,
            "attempt": self.attempt,
            "failures": self.failures,
            "crashes": self.crashes,
            "maxAttempts": self.max_attempts,
            "queue": self.queue,
            "progress": _fragment(self.progress),
            "createdAt": _time_text(self.created_at),
            "runAfter": _time_text(self.run_after),
            "startedAt": _time_text(self.started_at),
            "finishedAt": _time_text(self.finished_at),
            "result": _fragment(self.result),
            "error": error_document(self.error_code, self.error_message),
            "idempotencyKey": self.key,
        }


@cache
def columns(**instead: str) -> str:
    """What SQL selects or returns for a Row; of some columns an expression `instead`."""
    return ", ".join(instead.get(name) or _column(name) for name in Row._fields)


def _column(name: str) -> str:
    if name.endswith(("_at", "_after")):
        return as_raw(name)
    if name == "place":
        return "NULL" if is_postgresql() else "rowid"
    return as_text(name) if name in ("progress", "result") else name


Entry = tuple[str, bytes]
"""(id, 16 hex digits of version and progress, an x where RQ's hash is to be forgotten; the document after its `v`)."""


def mirror_entry(
    row: Row,
    progress_number: int = 0,
    progress: dict[str, Any] | None = None,
    document_json: bytes | None = None,
) -> Entry:
    """What the script writes into the mirror.

    `progress` is that of an attempt which goes on; otherwise the row's own is taken.
    """
    document: Any = row.document if document_json is None else orjson.Fragment(document_json)
    if progress is not None:
        document["progress"] = progress
    entry = orjson.dumps({"owner": row.client, "status": document})
    is_over = "" if row.status in ("queued", "running") else "x"
    return f"{id_text(row.id)}{row.version:08x}{progress_number:08x}{is_over}", entry[1:]


@lru_cache(maxsize=256)
def _time_text(stored: str | None) -> str | None:
    """`isotime(parse(stored))`, which needs no parsing. Jobs that were moved together have their times together."""
    return None if stored is None else f"{stored[:10]}T{(stored[11:23] + '.000')[:12]}Z"


def _fragment(text: str | None) -> orjson.Fragment | None:
    return None if text is None else orjson.Fragment(text)


_common = lru_cache(maxsize=256)(str)
"""A text that was seen a moment ago, or this one; not `intern`, of which some Pythons (3.12.0 to 3.12.6) let none go again."""

_lease_id = lru_cache(maxsize=64)(py_id)
"""Many rows carry one lease."""


def fetch(sql: str, parameters: Sequence[Any]) -> list[Row]:
    """Run SQL that returns `columns()`."""
    return [make_row(raw) for raw in run(sql, parameters)]


def make_row(raw: Sequence[Any]) -> Row:
    """A Row of what raw SQL returned for `columns()`; what it returned besides comes after them.

    Texts that many jobs have in common are one object for all of them: the processor then has it at hand."""
    lease_id = None if raw[23] is None else _lease_id(raw[23])
    return tuple.__new__(Row, (
        py_id(raw[0]), intern(raw[1]), intern(raw[2]), intern(raw[3]), raw[4], intern(raw[5]), *raw[6:13],
        _common(raw[13]), raw[14], raw[15] and _common(raw[15]), raw[16] and _common(raw[16]), *raw[17:23],
        lease_id, bool(raw[24]), raw[25],
    ))  # fmt: skip
