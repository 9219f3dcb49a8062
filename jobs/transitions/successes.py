"""Attempts that succeeded, as most do: by a statement that returns nothing, since what it would return is known.

Every transition raises the version, so a row that still has the version of its claim is as it was then. All that can be said
beforehand is made before the transaction: on SQLite everybody else waits while it lasts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jobs.lifecycle import Actor, Event, Status
from jobs.models import clock
from jobs.models.clock import parse
from jobs.rows import Row, columns, fetch
from jobs.sql import as_ids, as_table, change, db_id, in_ids, table, time_text
from jobs.transitions.ended import Ended
from jobs.transitions.events import insert_events_of

_COLUMNS = ("vid uuid", "vversion int", "vprogress jsonb", "vresult jsonb")
_STATUS, _FINISHED_AT = Row._fields.index("status"), Row._fields.index("finished_at")


class Successes:
    """Attempts of one lease whose rows are known as they were claimed."""

    def __init__(self, items: Sequence[Ended]) -> None:
        self.items = items
        self._lease_id = items[0].lease_id
        self._now = clock.now()
        self._stored_now = time_text(self._now)
        self._rows = [_succeeded(item, item.claimed, self._stored_now) for item in items if item.claimed is not None]
        self._ids = as_ids(item.job_id for item in items)
        self._table = as_table([
            (item.job_id.hex, row.version - 1, item.progress, item.result)
            for item, row in zip(items, self._rows, strict=True)
        ])  # fmt: skip

    def write(self, *, actor: Actor, who: str) -> tuple[list[Row], list[Ended]]:
        """The rows as they are now; and whose row is not as it was, by a cancel request, or because the fence has fallen."""
        count = change(
            "UPDATE jobs_job SET status = 'succeeded', version = version + 1, finished_at = %s, progress = vprogress,"
            f" result = vresult, error_code = NULL, error_message = NULL FROM ({table(*_COLUMNS)}) AS v"
            " WHERE id = vid AND version = vversion AND lease_id = %s",
            [self._stored_now, self._table, db_id(self._lease_id)],
        )
        rows, ids, others = self._rows, self._ids, []
        if count < len(rows):
            stored = fetch(f"SELECT {columns()} FROM jobs_job WHERE id {in_ids()}", [ids])
            moved = {row.id for row in stored if parse(row.finished_at) == self._now}
            rows = [row for row in rows if row.id in moved]
            others = [item for item in self.items if item.job_id not in moved]
            ids = as_ids(moved)
        insert_events_of(Event.SUCCEED, ids, actor=actor, who=who, source=Status.RUNNING, at=self._stored_now)
        return rows, others


def _succeeded(item: Ended, claimed: Row, now: Any) -> Row:
    """`_replace` takes longer than all else that a success costs here."""
    return tuple.__new__(Row, (
        *claimed[:_STATUS], Status.SUCCEEDED.value, claimed.version + 1, *claimed[_STATUS + 2 : _FINISHED_AT],
        now, item.progress, item.result, None, None, *claimed[_FINISHED_AT + 5 :],
    ))  # fmt: skip
