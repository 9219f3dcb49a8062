"""What a horse runs at the moment, and what of it Redis and the database have yet to hear."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from jobs.commit import Outcome
from jobs.context import JobContext, Line
from jobs.rows import Entry, Row, mirror_entry
from jobs.transitions import Claimed

RUNNING_MIRROR_S = 0.02
"""Seconds a job may run before its `running` is mirrored: shorter ones are over before anybody asks."""


@dataclass(slots=True)
class Running:
    claimed: Claimed
    context: JobContext
    since: float = field(default_factory=time.monotonic)
    mirrored: tuple[int, int] = (0, 0)
    """(row version, progress number) that the mirror was told last."""


class Roster(dict[uuid.UUID, Running]):
    """The running attempts by job id, those that began first before the others. Belongs to the horse's main thread."""

    def lines(self) -> list[tuple[Row, list[Line]]]:
        """Log lines that were not stored yet."""
        return [(job.claimed.row, lines) for job in self.values() if (lines := job.context.log.take())]

    def characters_of(self, outcomes: Sequence[Outcome]) -> int:
        """How long the payloads and results of attempts are that ended."""
        return sum(
            len(self[o.row.id].claimed.payload) + len(o.ended.result or "") for o in outcomes if o.row.id in self
        )

    def patience_s(self) -> float:
        """Seconds until one of them needs its first mirror."""
        for job in self.values():
            if job.mirrored[0] == 0:
                return max(0.001, job.since + RUNNING_MIRROR_S - time.monotonic())
        return float("inf")

    def unmirrored(self) -> list[uuid.UUID]:
        """Those that Redis is about to be told of as running for the first time."""
        return [job.claimed.row.id for job in self._shown() if job.mirrored[0] == 0]

    def mirrors(self) -> list[Entry]:
        """Entries of attempts that go on and have news: that they run, or their progress."""
        entries = []
        for job in self._shown():
            number, progress = job.context.latest_progress
            stamp = (job.claimed.row.version, number)
            if job.mirrored != stamp:
                entries.append(mirror_entry(job.claimed.row, number, progress))
                job.mirrored = stamp
        return entries

    def _shown(self) -> Iterator[Running]:
        """Those that have run for long enough to be mirrored."""
        until = time.monotonic() - RUNNING_MIRROR_S
        return takewhile(lambda job: job.since <= until, self.values())
