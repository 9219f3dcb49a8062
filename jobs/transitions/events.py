"""Events: one row a transition that happened, in its commit."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from jobs.lifecycle import TRANSITIONS, Actor, Event, Status
from jobs.models.clock import NOW
from jobs.rows import Row, as_table, db_id, run, table

CHUNK = 500
"""Jobs a statement, where their number is open: a statement of thousands would hold its locks for long."""

_COLUMNS = (
    "job_id uuid", "source text", "target text", "attempt int", "who text", "run_after timestamptz", "error_code text",
    "error_text text",
)  # fmt: skip


def insert_events(
    event: Event,
    rows: Iterable[Row],
    *,
    actor: Actor,
    who: str | dict[uuid.UUID, str],
    source: str | dict[uuid.UUID, str] | None,
    errors: dict[uuid.UUID, tuple[str | None, str | None]] | None = None,
) -> None:
    """One event row per moved job, in the same transaction. Raises ValueError when the table forbids the actor."""
    if event is not Event.SUBMIT and actor not in TRANSITIONS[event].actors:
        raise ValueError(f"{event} is not for the actor {actor}")
    parameters: list[tuple[Any, ...]] = []
    for row in rows:
        code, text = (errors or {}).get(row.id, (None, None))
        parameters.append(
            (
                db_id(row.id),
                source.get(row.id) if isinstance(source, dict) else source,
                row.status,
                row.attempt,
                who[row.id] if isinstance(who, dict) else who,
                row.run_after if row.status == Status.SCHEDULED else None,
                code,
                text,
            )
        )
    if not parameters:
        return
    run(
        "INSERT INTO jobs_event"
        " (job_id, source, target, attempt, who, run_after, error_code, error_text, event, actor, at)"
        f" SELECT v.*, '{event}', '{actor}', {NOW} FROM ({table(*_COLUMNS)}) AS v",
        [as_table(parameters)],
    )
