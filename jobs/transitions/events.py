"""Events: one row a transition that happened, in its commit."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from jobs.lifecycle import TRANSITIONS, Actor, Event, Status
from jobs.models.clock import NOW
from jobs.rows import Row
from jobs.sql import as_table, db_id, in_places, run, table

CHUNK = 500
"""Jobs a statement, where their number is open: a statement of thousands would hold its locks for long."""

NONE: Mapping[uuid.UUID, tuple[str | None, str | None]] = MappingProxyType({})

_COLUMNS: tuple[str, ...] = ("job_id uuid", "target text", "attempt int")
_MORE_COLUMNS = ("run_after timestamptz", "error_code text", "error_text text")
"""What an event has that is neither a submit nor the start or the success of an attempt."""


def insert_events(
    event: Event,
    rows: Sequence[Row],
    *,
    actor: Actor,
    who: str,
    source: Status,
    errors: Mapping[uuid.UUID, tuple[str | None, str | None]] = NONE,
    at: Any = None,
) -> None:
    """One event row per moved job, in the same transaction. Raises ValueError when the table forbids the actor.

    `at` is the time as text (`sql.as_raw`), where the transition asked the database's clock already.
    """
    _expect_legal(event, actor)
    if not rows:
        return
    columns = _COLUMNS
    events: list[tuple[Any, ...]] = [(db_id(row.id), row.status, row.attempt) for row in rows]
    if errors or any(row.status == Status.SCHEDULED for row in rows):
        columns += _MORE_COLUMNS
        nothing = (None, None)
        events = [(*event, _due(row), *errors.get(row.id, nothing)) for event, row in zip(events, rows, strict=True)]
    names = ", ".join(column.split()[0] for column in columns)
    run(
        f"INSERT INTO jobs_event ({names}, who, source, event, actor, at)"
        f" SELECT v.*, %s, '{source}', '{event}', '{actor}', {NOW if at is None else '%s'} FROM ({table(*columns)}) AS v",
        [who, *(() if at is None else (at,)), as_table(events)],
    )


def insert_events_of(event: Event, places: str, *, actor: Actor, who: str, source: Status, at: Any) -> None:
    """The same of jobs whose rows were moved just now, by their places: it asks them, which costs less than to say it
    again. For events that have no error and no time to come."""
    run(inserting_events_of(event, f"jobs_job WHERE {in_places()}", actor, source), [who, at, places])


def inserting_events_of(event: Event, rows: str, actor: Actor, source: Status, at: str = "%s") -> str:
    """Its SQL, of `rows` that have id, status and attempt as they are now. Parameters: who, and the time."""
    _expect_legal(event, actor)
    return (
        "INSERT INTO jobs_event (job_id, target, attempt, who, source, event, actor, at)"
        f" SELECT id, status, attempt, %s, '{source}', '{event}', '{actor}', {at} FROM {rows}"
    )


def _expect_legal(event: Event, actor: Actor) -> None:
    if actor not in TRANSITIONS[event].actors:
        raise ValueError(f"{event} is not for the actor {actor}")


def _due(row: Row) -> Any:
    return row.run_after if row.status == Status.SCHEDULED else None
