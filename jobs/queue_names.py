"""Which queues there are: those that the settings name, and those in which accepted jobs still wait.

A queue that left `JOBS_QUEUES` keeps its jobs. Whatever shows, repairs or serves queues asks here, so that these
jobs are seen and mended as all others are. New jobs go only to queues that the settings name.
"""

from __future__ import annotations

from collections.abc import Iterable

from jobs.conf import conf
from jobs.database import connection
from jobs.lifecycle import OPEN
from jobs.sql import is_postgresql

MOST = 1_000
"""Names that are read at most. People give queues their names, so there are few."""

MOST_ROWS = 10_000
"""Open jobs of a status that are looked at for names that no index holds."""


def known() -> tuple[str, ...]:
    """The queues of the settings, in their order, then the others that hold queued jobs. One search of an index a queue."""
    return _with_settings(_queued())


def holding_open() -> tuple[str, ...]:
    """The same with all open jobs. Among very many scheduled ones the next `MOST_ROWS` that are due are looked at."""
    rows = (
        f"SELECT queue FROM jobs_job WHERE {_in_order('scheduled')} ORDER BY run_after LIMIT {MOST_ROWS}",
        f"SELECT queue FROM jobs_job WHERE status = 'running' LIMIT {MOST_ROWS}",
        f"SELECT queue FROM jobs_job WHERE status = 'in_doubt' LIMIT {MOST_ROWS}",
    )
    looked_at = " UNION ".join(f"SELECT queue FROM ({each}) AS looked_at" for each in rows)
    with connection.cursor() as cursor:
        cursor.execute(looked_at)
        return _with_settings([*_queued(), *(name for (name,) in cursor.fetchall())])


def holds_open(name: str) -> bool:
    """Whether an open job belongs to that queue."""
    with connection.cursor() as cursor:
        for status in OPEN:
            cursor.execute(f"SELECT 1 FROM jobs_job WHERE status = '{status}' AND queue = %s LIMIT 1", [name])
            if cursor.fetchone() is not None:
                return True
    return False


def unknown_among(names: Iterable[str]) -> list[str]:
    """Names that neither the settings nor an open job has."""
    return [name for name in names if name not in conf().queues and not holds_open(name)]


def _queued() -> list[str]:
    """Names that queued jobs have. Each step searches the index for the next name, whatever the backlog."""
    following = f"SELECT MIN(queue) FROM jobs_job WHERE {_in_order('queued')} AND queue >"
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH RECURSIVE found(name) AS (SELECT ({following} '')"
            f" UNION ALL SELECT ({following} found.name) FROM found WHERE found.name IS NOT NULL)"
            f" SELECT name FROM found WHERE name IS NOT NULL LIMIT {MOST}"
        )
        return [name for (name,) in cursor.fetchall()]


def _in_order(status: str) -> str:
    """SQLite, without statistics, would otherwise read all jobs of the status instead of the index that is in order."""
    return f"status = '{status}'" if is_postgresql() else f"likelihood(status = '{status}', 0.9999)"


def _with_settings(names: Iterable[str]) -> tuple[str, ...]:
    return (*conf().queues, *sorted(set(names) - set(conf().queues)))
