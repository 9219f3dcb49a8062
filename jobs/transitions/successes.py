"""Attempts that succeeded, as most do: by a statement that returns nothing, since what it would return is known.

Every transition raises the version, so a row that still has the version of its claim is as it was then. All that can be said
beforehand is made before the transaction: on SQLite everybody else waits while it lasts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from jobs.lifecycle import Actor, Event, Status
from jobs.models import clock
from jobs.models.clock import parse
from jobs.rows import Entry, Row, columns, fetch, mirror_entry
from jobs.sql import as_list, as_table, change, db_id, in_ids, is_postgresql, table, time_text
from jobs.transitions.ended import Ended
from jobs.transitions.events import insert_events_of

_STATUS, _FINISHED_AT = Row._fields.index("status"), Row._fields.index("finished_at")


class Successes:
    """Attempts of one lease whose rows are known as they were claimed."""

    def __init__(self, items: Sequence[Ended]) -> None:
        self.items = items
        self._lease_id = items[0].lease_id
        self._now = clock.now()
        self._stored_now = time_text(self._now)
        self._rows: list[Row] = []
        self.entries: list[Entry] = []
        """Of the rows, for Redis; none once it has turned out that some are not as they were."""

        given = []
        for item in items:  # all of a job while the processor has it at hand
            claimed = item.claimed
            assert claimed is not None
            row = _succeeded(item, claimed, self._stored_now)
            self._rows.append(row)
            self.entries.append(mirror_entry(row))
            given.append((claimed.place, item.job_id.hex, claimed.version, item.result, item.progress))
        self._given = as_table(given)

    def write(self, *, actor: Actor, who: str) -> tuple[list[Row], list[Ended]]:
        """The rows as they are now; and whose row is not as it was, by a cancel request, or because the fence has fallen."""
        count = change(_update(), [self._stored_now, self._given, db_id(self._lease_id)])
        rows, others = self._rows, []
        if count < len(rows):
            ids = as_list([row.id.hex for row in rows])
            stored = fetch(f"SELECT {columns()} FROM jobs_job WHERE {in_ids()}", [ids])
            moved = {row.id for row in stored if parse(row.finished_at) == self._now}
            rows = [row for row in rows if row.id in moved]
            others = [item for item in self.items if item.job_id not in moved]
            self.entries = []
        places = as_list([row.id.hex if is_postgresql() else row.place for row in rows])
        insert_events_of(Event.SUCCEED, places, actor=actor, who=who, source=Status.RUNNING, at=self._stored_now)
        return rows, others


@cache
def _update() -> str:
    given = table("vplace int", "vid uuid", "vversion int", "vresult jsonb", "vprogress jsonb")
    is_in_place = "" if is_postgresql() else " AND jobs_job.rowid = vplace"
    return (
        "UPDATE jobs_job SET status = 'succeeded', version = version + 1, finished_at = %s, progress = vprogress,"
        f" result = vresult, error_code = NULL, error_message = NULL FROM ({given}) AS v"
        f" WHERE id = vid AND version = vversion AND lease_id = %s{is_in_place}"
    )


def _succeeded(item: Ended, claimed: Row, now: Any) -> Row:
    """`_replace` takes longer than all else that a success costs here."""
    return tuple.__new__(Row, (
        *claimed[:_STATUS], Status.SUCCEEDED.value, claimed.version + 1, *claimed[_STATUS + 2 : _FINISHED_AT],
        now, item.progress, item.result, None, None, *claimed[_FINISHED_AT + 5 :],
    ))  # fmt: skip
