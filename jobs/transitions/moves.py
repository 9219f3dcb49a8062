"""Every other transition: towards an attempt, and what clients and operators ask for."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from jobs import lifecycle
from jobs.lifecycle import Actor, Event, Status
from jobs.models.clock import NOW, fixed
from jobs.rows import Row, columns, fetch
from jobs.sql import (
    db_id,
    for_update,
    in_few,
    is_postgresql,
    marks,
)
from jobs.transitions.callbacks import insert_callbacks
from jobs.transitions.events import insert_events


def promote(ids: Sequence[uuid.UUID], *, actor: Actor, who: str) -> list[Row]:
    """Make scheduled jobs due now."""
    return _move(Event.PROMOTE, ids, f"queued_at = {NOW}", actor=actor, who=who)


def promote_due(limit: int, *, who: str) -> list[Row]:
    """Promote the jobs whose time has come, at most `limit`, those that waited longest first."""
    is_scheduled = "status = 'scheduled'"
    if not is_postgresql():  # SQLite, without statistics, would find them by status and read all of them
        is_scheduled = f"likelihood({is_scheduled}, 0.9999)"
    due = (
        f"SELECT id FROM jobs_job WHERE {is_scheduled} AND run_after <= {fixed('0')}"
        f" ORDER BY run_after LIMIT {int(limit)}{for_update(skip_locked=True)}"
    )
    moved = _update(Event.PROMOTE, f"queued_at = {NOW}", f"id {in_few(due)}", [], actor=Actor.HOUSEKEEPING, who=who)
    return sorted(moved, key=lambda row: (row.run_after or "", row.id))  # as texts they sort by time


def settle(job_id: uuid.UUID, *, who: str) -> list[Row]:
    """Let a job in doubt go on; when its cancel was requested, cancel it in the same commit.

    Whoever settles it wants it to go on: where the doubtful attempt was its last one, it is granted another.
    """
    changes = (
        f"queued_at = {NOW}"
        ", failures_allowed = CASE WHEN failures < failures_allowed THEN failures_allowed ELSE failures + 1 END"
        ", crashes_allowed = CASE WHEN crashes < crashes_allowed THEN crashes_allowed ELSE crashes + 1 END"
    )
    moved = _move(Event.SETTLE, [job_id], changes, actor=Actor.OPERATOR, who=who)
    if not moved:
        return []
    cancelled = _update(
        Event.CANCEL,
        f"finished_at = {NOW}",
        "id = %s AND cancel_requested_at IS NOT NULL",
        [db_id(job_id)],
        actor=Actor.OPERATOR,
        who=who,
    )
    return cancelled or moved


def cancel(ids: Sequence[uuid.UUID], *, actor: Actor, who: str) -> list[Row]:
    """Cancel jobs of which no attempt runs."""
    changes = f"finished_at = {NOW}, cancel_requested_at = {NOW}, cancel_requested_by = %s"
    return _move(Event.CANCEL, ids, changes, [who], actor=actor, who=who)


def request_cancel(ids: Sequence[uuid.UUID], *, actor: Actor, who: str) -> list[Row]:
    """Ask the running attempts of jobs to stop; asking twice changes nothing."""
    changes = f"cancel_requested_at = {NOW}, cancel_requested_by = %s"
    return _move(
        Event.REQUEST_CANCEL, ids, changes, [who], guard=" AND cancel_requested_at IS NULL", actor=actor, who=who
    )


def rerun(job_id: uuid.UUID, max_crashes: int, *, actor: Actor, who: str) -> list[Row]:
    """Grant a finished job as many failures and crashes again, and queue it."""
    changes = (
        f"queued_at = {NOW}, run_after = NULL, finished_at = NULL, cancel_requested_at = NULL,"
        " cancel_requested_by = NULL, failures_allowed = failures_allowed + max_attempts,"
        " crashes_allowed = crashes_allowed + %s"
    )
    return _move(Event.RERUN, [job_id], changes, [max_crashes], actor=actor, who=who)


def change_queue(source: str, target: str, status: Status, after: uuid.UUID | None, limit: int) -> list[Row]:
    """Give jobs of one open status another queue: at most `limit`, with ids beyond `after`. They keep everything else.

    It is not a transition: the status stays. Queued jobs go to the end of the target's list, in their order. The version
    rises, so that mirrors and the horse of a running job learn of the change. Rows that somebody has locked are left.
    """
    beyond, parameters = ("", []) if after is None else (" AND id > %s", [db_id(after)])
    is_queued = status == Status.QUEUED
    found = (
        f"SELECT id FROM jobs_job WHERE status = '{status}' AND queue = %s{beyond}"
        f" ORDER BY {'queued_at' if is_queued else 'id'} LIMIT {int(limit)}{for_update(skip_locked=True)}"
    )
    stamp = f", queued_at = {NOW}" if is_queued else ""
    moved = fetch(
        f"UPDATE jobs_job SET queue = %s, version = version + 1{stamp}"
        f" WHERE id {in_few(found)} AND status || '' = '{status}' RETURNING {columns()}",
        [target, source, *parameters],
    )
    return sorted(moved, key=lambda row: row.id)


def _move(
    event: Event,
    ids: Sequence[uuid.UUID],
    changes: str,
    parameters: Sequence[Any] = (),
    *,
    guard: str = "",
    actor: Actor,
    who: str,
) -> list[Row]:
    if not ids:
        return []
    where = f"id IN ({marks(len(ids))}){guard}"
    return _update(event, changes, where, [*parameters, *(db_id(i) for i in ids)], actor=actor, who=who)


def _update(event: Event, changes: str, where: str, parameters: Sequence[Any], *, actor: Actor, who: str) -> list[Row]:
    """Move the matching jobs that are in a source status of the event. One source status: one UPDATE.

    `where` names them by id; `status || ''` keeps the planner from reading all jobs of that status instead.
    """
    transition = lifecycle.TRANSITIONS[event]
    moved: list[Row] = []
    for source in transition.sources:
        rows = fetch(
            f"UPDATE jobs_job SET status = '{transition.target}', version = version + 1, {changes}"
            f" WHERE {where} AND status || '' = '{source}' RETURNING {columns()}",
            parameters,
        )
        if rows:
            insert_events(event, rows, actor=actor, who=who, source=source)
            moved += rows
    return moved + insert_callbacks(moved)
