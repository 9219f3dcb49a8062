"""How running attempts end."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

from jobs import lifecycle
from jobs.database import connection
from jobs.lifecycle import Actor, Doubt, End, Event, Status
from jobs.models.clock import NOW, after
from jobs.rows import Row, columns, fetch
from jobs.sql import (
    as_list,
    as_table,
    change,
    db_id,
    in_ids,
    is_postgresql,
    marks,
    py_id,
    table,
)
from jobs.transitions.callbacks import insert_callbacks
from jobs.transitions.ended import FENCE_COLUMNS, Ended, is_of_claim
from jobs.transitions.events import CHUNK, insert_events
from jobs.transitions.successes import Successes

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
_COLUMNS: tuple[str, ...] = (*FENCE_COLUMNS, "vprogress jsonb", "vresult jsonb")
_TROUBLE_COLUMNS = ("vfailed int", "vcrashed int", "vdelay float8", "vcode text", "vmessage text")
"""What there is to say only of an attempt that did not succeed."""


class Prepared(NamedTuple):
    successes: Successes | None
    others: Sequence[Ended]
    unbegun: Sequence[Ended] = ()


def prepare(ended: Sequence[Ended]) -> Prepared:
    """All of `end_attempts` that needs no transaction. On PostgreSQL it asks for the time."""
    plain: list[Ended] = []
    others: list[Ended] = []
    unbegun: list[Ended] = []
    for item in ended:
        # By `lifecycle.ending` who has no effects and returned has succeeded.
        is_plain = item.end is End.RETURNED and not item.has_effects and _is_known(item, ended[0].lease_id)
        (plain if is_plain else unbegun if item.end is End.UNBEGUN else others).append(item)
    return Prepared(Successes(plain) if plain else None, others, unbegun)


def end_attempts(ended: Sequence[Ended] | Prepared, *, actor: Actor, who: str) -> list[Row]:
    """End running attempts: what becomes of each is decided by `lifecycle.ending`.

    Locks the rows of jobs with effects first and reads their effects in a later statement: in one
    statement PostgreSQL would read them from a snapshot older than the lock.
    """
    successes, others, unbegun = ended if isinstance(ended, Prepared) else prepare(ended)
    doubts = _doubts(others)
    by_event: dict[Event, list[Ended]] = {}
    for item in others:
        event = lifecycle.ending(item.end, item.budget, doubts.get(item.job_id, Doubt.NONE), is_cancel_requested=False)
        if item.end is End.RETURNED and event is not Event.SUCCEED and item.error_code is None:
            item = item._replace(result=None, error_code=OPEN_EFFECT, error_message=OPEN_EFFECT_MESSAGE)
        by_event.setdefault(event, []).append(item)
    moved: list[Row] = _succeed(successes, actor=actor, who=who) if successes else []
    overtaken: list[Ended] = []
    for event, items in by_event.items():
        if event is Event.SUCCEED and all(_is_known(item, items[0].lease_id) for item in items):
            rows = _succeed(Successes(items), actor=actor, who=who)
        else:
            rows = _end(event, items, actor=actor, who=who)
        moved += rows
        if event in lifecycle.YIELDS_TO_CANCEL and len(rows) < len(items):
            done = {row.id for row in rows}
            overtaken += [item for item in items if item.job_id not in done]
    if overtaken:  # a cancel request came first, or the fence no longer holds; then nothing matches
        moved += _end(Event.ABORT, overtaken, actor=actor, who=who)
    if with_effects := {item.job_id for item in others if item.has_effects}:
        _leave_in_doubt([row.id for row in moved if row.id in with_effects])
    if unbegun:
        moved += _take_back(unbegun)
    return moved + insert_callbacks(moved)


def _take_back(items: Sequence[Ended]) -> list[Row]:
    """Undo claims of which no handler began: the job stands in its place again, and nothing tells of an attempt.

    A cancel that was requested meanwhile is then the cancel of a job that waits.
    """
    rows = fetch(
        f"WITH v AS ({table(*FENCE_COLUMNS)})"
        " UPDATE jobs_job SET version = version + 1, attempt = attempt - 1,"
        " status = CASE WHEN cancel_requested_at IS NULL THEN 'queued' ELSE 'cancelled' END,"
        f" finished_at = CASE WHEN cancel_requested_at IS NOT NULL THEN {NOW} END,"
        " started_at = (SELECT MAX(at) FROM jobs_event WHERE job_id = jobs_job.id AND event = 'start'"
        " AND jobs_event.attempt = jobs_job.attempt - 1)"
        f" FROM v WHERE id = vid AND status || '' = 'running' AND {is_of_claim('vversion')} AND lease_id = vlease"
        f" RETURNING {columns()}",
        [as_table([(db_id(item.job_id), item.version, db_id(item.lease_id)) for item in items])],
    )
    next_attempt = "(SELECT attempt + 1 FROM jobs_job WHERE id = job_id)"
    if rows:
        change(
            f"DELETE FROM jobs_event WHERE {in_ids('job_id')} AND event = 'start' AND attempt = {next_attempt}",
            [as_list([row.id.hex for row in rows])],
        )
    if cancelled := [row.id.hex for row in rows if row.status == Status.CANCELLED]:
        change(
            f"UPDATE jobs_event SET event = '{Event.CANCEL}', source = 'queued', target = 'cancelled',"
            f" attempt = attempt - 1 WHERE {in_ids('job_id')} AND event = '{Event.REQUEST_CANCEL}'"
            f" AND attempt = {next_attempt}",
            [as_list(cancelled)],
        )
    return rows


def _is_known(item: Ended, lease_id: uuid.UUID) -> bool:
    return item.claimed is not None and (item.lease_id is lease_id or item.lease_id == lease_id)


def _succeed(successes: Successes, *, actor: Actor, who: str) -> list[Row]:
    rows, others = successes.write(actor=actor, who=who)
    return rows + (_end(Event.SUCCEED, others, actor=actor, who=who) if others else [])


def _end(event: Event, items: Sequence[Ended], *, actor: Actor, who: str) -> list[Row]:
    changes = _ENDING_CHANGES[event].format(now=NOW, after=after("vdelay"))
    columns_of_v = _COLUMNS
    ended: list[tuple[Any, ...]] = [
        (db_id(item.job_id), item.version, db_id(item.lease_id), item.progress, item.result) for item in items
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
        f" WHERE id = vid AND status || '' = 'running' AND {is_of_claim('vversion')} AND lease_id = vlease{guard}"
        f" RETURNING {columns()}",
        [as_table(ended)],
    )
    insert_events(event, rows, actor=actor, who=who, source=Status.RUNNING, errors=errors)
    return rows


def _trouble(item: Ended) -> tuple[Any, ...]:
    has_failed = item.end in (End.RAISED, End.PERMANENT, End.RETURNED)
    return int(has_failed), int(item.end is End.DIED), item.delay_s, item.error_code, item.error_message


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
