"""How many jobs a horse may hold claims of: one a thread, and more while handlers are quick.

What a turn costs by itself (five statements, a flush, a call to Redis) is as much as ten jobs that do nothing. So
while attempts end sooner than the next turn begins, several are claimed for each thread. Nothing may wait behind a
slow job, though: what no thread has begun within `PATIENCE_S` is released, and then there is one a thread again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

PATIENCE_S = 0.025
"""Seconds that a claimed job waits for a thread at most."""

EXPECTED_S = PATIENCE_S / 5
"""Seconds that it is expected to wait at most: on a busy machine estimates are wrong by as much."""

LARGEST = 400
"""Claims beyond one a thread end here: a turn of so many takes 10 ms or more, in which others wait for SQLite."""

HEAVY = 2_000_000
"""Characters of payloads and results in one turn beyond which it gets smaller: it goes through one call to Redis, which
has little time, and stands in memory several times."""

WARM_UP = 10
"""Turns that have to be quick before the first step."""

HOLD_S = 1.0
"""Seconds without a step after jobs had to be released: where quick and slow jobs mix, that stays rare."""


class Window:
    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._quick_turns = 0
        self._held_until = 0.0
        self.size = threads

    def resize(self, threads: int) -> None:
        """There are so many threads now: begin anew."""
        self._threads = self.size = threads
        self._quick_turns = 0

    def observe(self, run_s: Sequence[float], running: int, characters: int = 0) -> None:
        """Of so many running attempts these ended in one turn, after so many seconds each, with so much in their payloads
        and results; none, when nothing ran."""
        ended = len(run_s)
        if 2 * ended < running:
            self._shrink_to(self._threads)
        elif ended < self.size:  # no larger than what there is to do: who comes next may be slow
            self._shrink_to(2 * ended)
        elif self._wait_s(run_s, self.size) > EXPECTED_S or characters > HEAVY:
            self._shrink_to(self.size // 2)
        else:
            self._quick_turns += 1
            larger = min(2 * self.size, LARGEST)
            is_due = self._quick_turns > WARM_UP and time.monotonic() >= self._held_until
            is_light = 2 * characters <= HEAVY
            if is_due and larger > self.size and is_light and self._wait_s(run_s, larger) <= EXPECTED_S:
                self.size = larger

    def close(self) -> None:
        """Jobs had to be released."""
        self._shrink_to(self._threads)
        self._held_until = time.monotonic() + HOLD_S

    def _shrink_to(self, size: int) -> None:
        self.size = min(self.size, max(self._threads, size))
        if self.size == self._threads:
            self._quick_turns = 0

    def _wait_s(self, run_s: Sequence[float], size: int) -> float:
        """How long the last of so many such jobs would wait for a thread."""
        return sum(run_s) / len(run_s) * size / self._threads
