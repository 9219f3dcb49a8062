"""Events: one row a transition that happened, in its commit."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from django.db import connection

from jobs.lifecycle import TRANSITIONS, Actor, Event, Status
from jobs.models.clock import NOW
from jobs.rows import Row, db_id, values

CHUNK = 500
"""Rows a statement: keeps the parameters below SQLite's limit of 32,766."""


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
    parameters: list[list[Any]] = []
    for row in rows:
        code, text = (errors or {}).get(row.id, (None, None))
        parameters.append(
            [
                db_id(row.id),
                str(event),
                source.get(row.id) if isinstance(source, dict) else source,
                row.status,
                row.attempt,
                str(actor),
                who[row.id] if isinstance(who, dict) else who,
                row.run_after if row.status == Status.SCHEDULED else None,
                code,
                text,
            ]
        )
    types = ("uuid", "text", "text", "text", "int", "text", "text", "timestamptz", "text", "text")
    with connection.cursor() as cursor:
        for start in range(0, len(parameters), CHUNK):
            chunk = parameters[start : start + CHUNK]
            cursor.execute(
                "INSERT INTO jobs_event"
                " (job_id, event, source, target, attempt, actor, who, run_after, error_code, error_text, at)"
                f" SELECT v.*, {NOW} FROM ({values(types, len(chunk))}) AS v",
                [parameter for row in chunk for parameter in row],
            )
