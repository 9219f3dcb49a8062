"""What a horse runs at the moment, and what of it Redis and the database have yet to hear."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from jobs.context import JobContext, Line
from jobs.lines import say_each
from jobs.rows import Entry, Row, mirror_entry
from jobs.sql import id_text
from jobs.transitions import Claimed

log = logging.getLogger("jobs.horse")

RUNNING_MIRROR_S = 0.02
"""Seconds a job may run before its `running` is mirrored: shorter ones are over before anybody asks."""


@dataclass(slots=True)
class Running:
    claimed: Claimed
    context: JobContext
    mirrored: tuple[int, int] = (0, 0)
    """(row version, progress number) that the mirror was told last."""


class Roster(dict[uuid.UUID, Running]):
    """The running attempts by job id, those that began first before the others. Belongs to the horse's main thread."""

    def begin(self, opened: Sequence[str], stopping: threading.Event) -> list[tuple[Claimed, JobContext]]:
        """Attempts that were opened just now, and what their handlers are given."""
        tasks, said = [], []
        for line in opened:  # all of a job at once: of many the processor does not keep what it has seen of the first
            claimed = Claimed.of(line)
            row = claimed.row
            context = JobContext(row, stopping)
            tasks.append((claimed, context))
            self[row.id] = Running(claimed, context)
            said.append(f"job {id_text(row.id)} {row.type} attempt {row.attempt} starts")
        say_each(log, logging.INFO, said)
        return tasks

    def cancel(self, ids: Iterable[uuid.UUID]) -> None:
        """Tell the handlers of those that run here."""
        for job_id in ids:
            if job_id in self:
                self[job_id].context.cancel()

    def lines(self) -> list[tuple[Row, Sequence[Line]]]:
        """Log lines that were not stored yet."""
        return [(job.claimed.row, lines) for job in self.values() if (lines := job.context.take_lines())]

    def patience_s(self) -> float:
        """Seconds until one of them needs its first mirror."""
        for job in self.values():
            if job.mirrored[0] == 0:
                return max(0.001, job.context.since + RUNNING_MIRROR_S - time.monotonic())
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
        return takewhile(lambda job: job.context.since <= until, self.values())
