"""How running attempts end."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

from django.db import connection

from jobs import lifecycle
from jobs.lifecycle import Actor, Budget, Doubt, End, Event, Status
from jobs.models import clock
from jobs.models.clock import NOW, after, parse
from jobs.rows import Row, columns, fetch
from jobs.sql import (
    as_ids,
    as_table,
    change,
    db_id,
    for_update,
    in_ids,
    is_postgresql,
    marks,
    py_id,
    table,
    time_text,
)
from jobs.transitions.callbacks import insert_callbacks
from jobs.transitions.events import CHUNK, insert_events, insert_events_of


class Ended(NamedTuple):
    """An attempt that is over, under the fence (attempt, lease) it was claimed with."""

    job_id: uuid.UUID
    attempt: int
    lease_id: uuid.UUID
    end: End
    budget: Budget
    has_effects: bool = False
    delay_s: float = 0.0
    """Seconds until the next attempt, if there is one after a failure."""

    result: str | None = None
    """JSON text."""

    progress: str | None = None
    """JSON text; None keeps what is stored."""

    error_code: str | None = None
    error_message: str | None = None
    error_text: str | None = None
    claimed: Row | None = None
    """The row as it was claimed, where that is known: then what is stored of a success need not be read again."""


OPEN_EFFECT = "effect-in-doubt"
OPEN_EFFECT_MESSAGE = "the handler returned though it is not known whether one of its effects happened"

_ENDING_CHANGES = {
    Event.SUCCEED: "finished_at = {now}, result = vresult, error_code = NULL, error_message = NULL",
    Event.FAIL: "finished_at = {now}",
    Event.RETRY: "run_after = {after}",
    Event.RELEASE: "queued_at = {now}",
    Event.EXPIRE: "queued_at = {now}",
    Event.DOUBT: "queued_at = NULL",
    Event.ABORT: "finished_at = {now}",
}
_COLUMNS: tuple[str, ...] = ("vid uuid", "vattempt int", "vlease uuid", "vprogress jsonb", "vresult jsonb")
_SUCCESS_COLUMNS = ("vid uuid", "vversion int", "vprogress jsonb", "vresult jsonb")
_STATUS, _FINISHED_AT = Row._fields.index("status"), Row._fields.index("finished_at")
_TROUBLE_COLUMNS = ("vfailed int", "vcrashed int", "vdelay float8", "vcode text", "vmessage text")
"""What there is to say only of an attempt that did not succeed."""


def end_attempts(ended: Sequence[Ended], *, actor: Actor, who: str) -> list[Row]:
    """End running attempts: what becomes of each is decided by `lifecycle.ending`.

    Locks the rows of jobs with effects first and reads their effects in a later statement: in one
    statement PostgreSQL would read them from a snapshot older than the lock.
    """
    doubts = _doubts(ended)
    by_event: dict[Event, list[Ended]] = {}
    for item in ended:
        doubt = doubts.get(item.job_id, Doubt.NONE) if doubts else Doubt.NONE
        event = lifecycle.ending(item.end, item.budget, doubt, is_cancel_requested=False)
        if item.end is End.RETURNED and event is not Event.SUCCEED and item.error_code is None:
            item = item._replace(result=None, error_code=OPEN_EFFECT, error_message=OPEN_EFFECT_MESSAGE)
        by_event.setdefault(event, []).append(item)
    moved: list[Row] = []
    overtaken: list[Ended] = []
    for event, items in by_event.items():
        end = _succeed if event is Event.SUCCEED else _end
        rows = end(event, items, actor=actor, who=who)
        moved += rows
        if event in lifecycle.YIELDS_TO_CANCEL and len(rows) < len(items):
            done = {row.id for row in rows}
            overtaken += [item for item in items if item.job_id not in done]
    if overtaken:  # a cancel request came first, or the fence no longer holds; then nothing matches
        moved += _end(Event.ABORT, overtaken, actor=actor, who=who)
    if with_effects := {item.job_id for item in ended if item.has_effects}:
        _leave_in_doubt([row.id for row in moved if row.id in with_effects])
    return moved + insert_callbacks(moved)


def _succeed(event: Event, items: Sequence[Ended], *, actor: Actor, who: str) -> list[Row]:
    """As `_end`, by a statement that returns nothing: what it would return is known.

    Every transition raises the version, so a row that still has the version of its claim is as it was then.
    """
    now = clock.now()
    stored_now = time_text(now)
    rows = [_succeeded(item, item.claimed, stored_now) for item in items if item.claimed is not None]
    lease_id = items[0].lease_id
    if len(rows) < len(items) or any(i.lease_id is not lease_id and i.lease_id != lease_id for i in items):
        return _end(event, items, actor=actor, who=who)
    v = [(item.job_id.hex, row.version - 1, item.progress, item.result) for item, row in zip(items, rows, strict=True)]
    ids = as_ids(item.job_id for item in items)
    count = change(
        "UPDATE jobs_job SET status = 'succeeded', version = version + 1, finished_at = %s, progress = vprogress,"
        f" result = vresult, error_code = NULL, error_message = NULL FROM ({table(*_SUCCESS_COLUMNS)}) AS v"
        " WHERE id = vid AND version = vversion AND lease_id = %s",
        [stored_now, as_table(v), db_id(lease_id)],
    )
    others: list[Row] = []
    if count < len(rows):  # the cancel of some was requested meanwhile, or their fence has fallen
        stored = fetch(f"SELECT {columns()} FROM jobs_job WHERE id {in_ids()}", [ids])
        moved = {row.id for row in stored if parse(row.finished_at) == now}
        rows = [row for row in rows if row.id in moved]
        others = _end(event, [item for item in items if item.job_id not in moved], actor=actor, who=who)
        ids = as_ids(moved)
    insert_events_of(event, ids, actor=actor, who=who, source=Status.RUNNING, at=stored_now)
    return rows + others


def _succeeded(item: Ended, claimed: Row, now: Any) -> Row:
    """`_replace` takes longer than all else that a success costs here."""
    return tuple.__new__(Row, (
        *claimed[:_STATUS], Status.SUCCEEDED.value, claimed.version + 1, *claimed[_STATUS + 2 : _FINISHED_AT],
        now, item.progress, item.result, None, None, *claimed[_FINISHED_AT + 5 :],
    ))  # fmt: skip


def _end(event: Event, items: Sequence[Ended], *, actor: Actor, who: str) -> list[Row]:
    changes = _ENDING_CHANGES[event].format(now=NOW, after=after("vdelay"))
    columns_of_v = _COLUMNS
    ended: list[tuple[Any, ...]] = [
        (db_id(item.job_id), item.attempt, db_id(item.lease_id), item.progress, item.result) for item in items
    ]
    errors: dict[uuid.UUID, tuple[str | None, str | None]] = {}
    if event is not Event.SUCCEED:
        columns_of_v += _TROUBLE_COLUMNS
        ended = [(*values, *_trouble(item)) for values, item in zip(ended, items, strict=True)]
        errors = {item.job_id: (item.error_code, item.error_text or item.error_message) for item in items}
        changes += (
            ", error_code = COALESCE(vcode, error_code)"
            ", error_message = CASE WHEN vcode IS NULL THEN error_message ELSE vmessage END"
            ", failures = failures + vfailed, crashes = crashes + vcrashed"
        )
    guard = ""
    if event in lifecycle.YIELDS_TO_CANCEL:
        guard = " AND cancel_requested_at IS NULL"
    elif event is Event.ABORT:
        guard = " AND cancel_requested_at IS NOT NULL"
    rows = fetch(
        f"WITH v AS ({table(*columns_of_v)})"
        f" UPDATE jobs_job SET status = '{lifecycle.TRANSITIONS[event].target}', version = version + 1,"
        f" progress = COALESCE(vprogress, progress), {changes} FROM v"
        f" WHERE id = vid AND status || '' = 'running' AND attempt = vattempt AND lease_id = vlease{guard}"
        f" RETURNING {columns()}",
        [as_table(ended)],
    )
    insert_events(event, rows, actor=actor, who=who, source=Status.RUNNING, errors=errors)
    return rows


def _trouble(item: Ended) -> tuple[Any, ...]:
    has_failed = item.end in (End.RAISED, End.PERMANENT, End.RETURNED)
    return int(has_failed), int(item.end is End.DIED), item.delay_s, item.error_code, item.error_message


def running_of(lease_id: uuid.UUID) -> list[Row]:
    """The running jobs of a lease, locked; on PostgreSQL those that others have locked are left out."""
    return fetch(
        f"SELECT {columns()} FROM jobs_job WHERE lease_id = %s AND status = 'running'"
        f" ORDER BY id{for_update(skip_locked=True)}",
        [db_id(lease_id)],
    )


def _doubts(ended: Sequence[Ended]) -> dict[uuid.UUID, Doubt]:
    """What the effects of each job leave open, read after its row was locked."""
    ids = [db_id(item.job_id) for item in ended if item.has_effects]
    doubts: dict[uuid.UUID, Doubt] = {}
    if not ids:
        return doubts
    with connection.cursor() as cursor:
        for start in range(0, len(ids), CHUNK):
            chunk = ids[start : start + CHUNK]
            if is_postgresql():
                cursor.execute(
                    f"SELECT id FROM jobs_job WHERE id IN ({marks(len(chunk))}) ORDER BY id FOR UPDATE", chunk
                )
            cursor.execute(
                "SELECT job_id, on_doubt, has_probe FROM jobs_effect"
                f" WHERE job_id IN ({marks(len(chunk))}) AND status IN ('executing', 'in_doubt')",
                chunk,
            )
            for raw_id, on_doubt, has_probe in cursor.fetchall():
                job_id = py_id(raw_id)
                if on_doubt == "hold" and not has_probe:
                    doubts[job_id] = Doubt.HELD
                elif on_doubt != "skip" or has_probe:
                    doubts.setdefault(job_id, Doubt.OPEN)
    return doubts


def _leave_in_doubt(ids: Sequence[uuid.UUID]) -> None:
    """No attempt runs any more: what its effects were doing is not known."""
    if not ids:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE jobs_effect SET status = 'in_doubt', ended_at = {NOW},"
            " error = COALESCE(error, 'the attempt ended while the effect was executing')"
            f" WHERE status = 'executing' AND job_id IN ({marks(len(ids))})",
            [db_id(i) for i in ids],
        )
