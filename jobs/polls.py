"""What a horse asks the database because nobody tells it: cancel requests, paused queues, claims whose answer was lost,
and while Redis is away the ids of queued jobs."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from django.db import DatabaseError, InterfaceError

from jobs.database import connection
from jobs.models.clock import after
from jobs.sql import db_id, for_update, py_id

Claim = tuple[uuid.UUID, int]
"""A job, and the version that the claim gave to its row."""


def running(lease_id: uuid.UUID) -> list[tuple[Claim, bool]]:
    """The running jobs of a lease, each with whether its cancel was requested."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, version, cancel_requested_at IS NOT NULL FROM jobs_job"
            " WHERE lease_id = %s AND status = 'running'",
            [db_id(lease_id)],
        )
        return [((py_id(raw[0]), raw[1] - raw[2]), bool(raw[2])) for raw in cursor.fetchall()]


def paused_queues() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM jobs_queuestate WHERE paused_at IS NOT NULL")
        return [row[0] for row in cursor.fetchall()]


def oldest_queued(queue_names: Sequence[str], limit: int, *, older_than_s: float = 0.0) -> list[tuple[uuid.UUID, str]]:
    """What would be at the heads of the lists, were Redis there, but for what somebody has locked, which cannot be
    claimed; [] while the database is away too."""
    found: list[tuple[uuid.UUID, str]] = []
    try:
        with connection.cursor() as cursor:
            for name in queue_names:
                if len(found) < limit:
                    cursor.execute(
                        "SELECT id FROM jobs_job WHERE status = 'queued' AND queue = %s"
                        f" AND queued_at <= {after()} ORDER BY queued_at LIMIT {limit - len(found)}"
                        f"{for_update(skip_locked=True)}",
                        [name, -older_than_s],
                    )
                    found += [(py_id(row[0]), name) for row in cursor.fetchall()]
    except (DatabaseError, InterfaceError):
        connection.close()
    return found
