"""Mirrors that Redis could not take while it was away, for when it is back. Bounded: the database knows them all."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from jobs import queue
from jobs.lifecycle import Status
from jobs.rows import Entry, Row, mirror_entry

MOST, MOST_BYTES = 10_000, 8 * 2**20
"""Mirrors that are kept; the oldest go first. What has none is read from the database."""

PAID, PAID_BYTES = 200, 256 * 2**10
"""Mirrors that one call brings to Redis, unless one alone is larger. Claims wait for it, so it must be short."""


class Owed:
    """Belongs to the horse's main thread."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def remember(self, rows: Sequence[Row]) -> None:
        """Those that succeeded, which is final; how others stand may be wrong by the time Redis is told of it."""
        for row in rows:
            if row.status == Status.SUCCEEDED:
                self._entries.append(mirror_entry(row))
                self._bytes += len(self._entries[-1][1])
        while len(self._entries) > MOST or self._bytes > MOST_BYTES:
            self._pop()

    def pay(self) -> None:
        """Bring some of those that are owed for longest. If Redis does not take them they are forgotten: what is too large
        for its time limit must not be tried again and again."""
        entries: list[Entry] = []
        size = 0
        while self._entries and len(entries) < PAID:
            size += len(self._entries[0][1])
            if entries and size > PAID_BYTES:
                break
            entries.append(self._pop())
        if entries:
            queue.run(queue.Turn(mirrors=entries))

    def _pop(self) -> Entry:
        entry = self._entries.popleft()
        self._bytes -= len(entry[1])
        return entry
