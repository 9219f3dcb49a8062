"""Claims: the next attempt of queued jobs is opened, under a lease."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import orjson

from jobs.lifecycle import Actor, Event, Status
from jobs.models.clock import NOW
from jobs.rows import Row, columns, make_row
from jobs.sql import as_list, as_raw, as_text, change, db_id, in_ids, in_places, is_postgresql, run
from jobs.transitions.events import insert_events_of, inserting_events_of


class Claimed(NamedTuple):
    """A job whose attempt was just opened, and what running it takes."""

    row: Row
    payload: str
    """JSON text, as it was sent."""

    timeout_s: int

    @classmethod
    def of(cls, line: str) -> Claimed:
        """Of one of `open_attempts`."""
        raw = orjson.loads(line)
        return cls(make_row(raw), raw[-2], raw[-1])


_STARTED_AT = Row._fields.index("started_at")


def claim(ids: Sequence[uuid.UUID], *, lease_id: uuid.UUID, worker: str) -> list[Claimed]:
    """Open the next attempt of queued jobs under a lease that is still live; those that could be, in the order of `ids`."""
    return [Claimed.of(line) for line in open_attempts(ids, lease_id=lease_id, worker=worker)]


def open_attempts(ids: Sequence[uuid.UUID], *, lease_id: uuid.UUID, worker: str) -> list[str]:
    """As `claim`, but what it returns is yet to become a `Claimed.of` each: that can wait until after the commit.

    Jobs of paused queues are left alone. Their columns come as one text: the drivers take longer for each value than
    all of it takes, and SQLite's gives up and takes back the interpreter's lock at each row.
    """
    if not ids:
        return []
    hexes = [job_id.hex for job_id in ids]
    lease, wanted = db_id(lease_id), as_list(hexes)
    if is_postgresql():
        ((text,),) = run(_at_once_sql(), [lease, wanted, lease, worker])
        return [] if text is None else _in_order(text.split("\n"), hexes)
    ((text, places),) = run(_select_sql(), [lease, wanted, lease])
    if text is None:
        return []
    found: list[str] = text.split("\n")
    now = orjson.loads(found[0])[_STARTED_AT]
    change(f"{_update('%s')} WHERE {in_places()}", [lease, now, places])
    insert_events_of(Event.START, places, actor=Actor.WORKER, who=worker, source=Status.QUEUED, at=now)
    return _in_order(found, hexes)


def _in_order(found: list[str], hexes: Sequence[str]) -> list[str]:
    """As the ids were given, so that who came first, or to a queue that comes first, starts first: the databases return
    rows as they lie. Each begins with its id, of 32 digits or with hyphens."""
    if len(found) < 2:
        return found
    by_hex = {line[2:38].replace("-", "")[:32]: line for line in found}
    return [by_hex.pop(one) for one in hexes if one in by_hex]


@cache
def _at_once_sql() -> str:
    """One statement, which commits by itself where there is nothing else to write. A row that somebody else has locked is
    skipped: two horses that got the same ids must not wait for each other in opposite order."""
    return (
        f"WITH clock AS MATERIALIZED (SELECT {NOW} AS at), opened AS ({_update('(SELECT at FROM clock)')}"
        f" WHERE id = ANY(ARRAY(SELECT id FROM jobs_job WHERE {_may_start()} FOR UPDATE SKIP LOCKED))"
        f" RETURNING id, status, attempt, started_at, json_build_array({columns()}, {_besides()})::text AS one),"
        f" told AS ({inserting_events_of(Event.START, 'opened', Actor.WORKER, Status.QUEUED, at='started_at')})"
        " SELECT string_agg(one, chr(10)) FROM opened"
    )


@cache
def _select_sql() -> str:
    """The rows as they will be once their attempts are opened, and their places."""
    opened: dict[str, Any] = {
        "status": f"'{Status.RUNNING}'", "version": "version + 1", "attempt": "attempt + 1", "progress": "NULL",
        "lease_id": "%s", "started_at": as_raw(NOW),
    }  # fmt: skip
    return (
        f"SELECT group_concat(json_array({columns(**opened)}, {_besides()}), char(10)), json_group_array(rowid)"
        f" FROM jobs_job WHERE {_may_start()}"
    )


def _update(now: str) -> str:
    return (
        "UPDATE jobs_job SET status = 'running', version = version + 1, attempt = attempt + 1, lease_id = %s,"
        f" started_at = {now}, progress = NULL"
    )


def _may_start() -> str:
    """`status || ''` keeps PostgreSQL from reading the whole backlog through an index of queued jobs, which old
    statistics take for empty."""
    return (
        f"{in_ids()} AND status || '' = 'queued'"
        " AND queue NOT IN (SELECT name FROM jobs_queuestate WHERE paused_at IS NOT NULL)"
        " AND EXISTS (SELECT 1 FROM jobs_lease WHERE id = %s AND revoked_at IS NULL)"
    )


def _besides() -> str:
    return f"{as_text('payload')}, timeout_s"
