"""A job's life, read from its events: the steps, the attempts, and a picture. Pure: no queries.

There is no table of attempts. An attempt begins with `start` and ends with whatever event next takes the
job out of `running`.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.admin import show
from jobs.lifecycle import FINAL, Event, Status
from jobs.models import Event as EventRow

PICTURE_WIDTH = 1000
"""Width of the picture in its own units."""

LEAST_WIDTH = 6
"""A phase of no time at all is still seen, in the picture's units."""


@dataclass(frozen=True)
class Step:
    """One event, with the time since the one before it."""

    event: EventRow
    gap_s: float | None

    @property
    def name(self) -> str:
        return self.event.event.replace("_", " ")

    @property
    def source(self) -> str:
        """The status it left; empty where it stayed or began."""
        event = self.event
        return "" if event.source is None or event.source == event.target else event.source.replace("_", " ")

    @property
    def badge(self) -> str:
        return show.badge(self.event.target)

    @property
    def gap(self) -> str:
        return "" if self.gap_s is None else f"+{show.duration(self.gap_s)}"


@dataclass(frozen=True)
class Attempt:
    """From one `start` to the event that ended it; an attempt that runs has no end."""

    number: int
    worker: str
    started_at: dt.datetime
    end: EventRow | None
    until: dt.datetime
    """When it ended, or the present."""

    @property
    def outcome(self) -> str:
        return self.end.event if self.end else "running"

    @property
    def status_class(self) -> str:
        """The status whose colour the outcome wears."""
        if self.end is None:
            return Status.RUNNING
        if self.end.event in (Event.RETRY, Event.EXPIRE):
            return Status.FAILED
        return self.end.target

    @property
    def duration(self) -> str:
        took = show.duration((self.until - self.started_at).total_seconds())
        return took if self.end else f"{took} so far"


@dataclass(frozen=True)
class Phase:
    """Time spent in one status, as a rectangle of the picture."""

    status: str
    x: float
    width: float
    title: str


def steps(events: Sequence[EventRow]) -> list[Step]:
    before = [None, *events]
    return [
        Step(event, (event.at - previous.at).total_seconds() if previous else None)
        for previous, event in zip(before, events, strict=False)
    ]


def attempts(events: Sequence[EventRow], now: dt.datetime) -> list[Attempt]:
    """Oldest first."""
    found: list[Attempt] = []
    start: EventRow | None = None
    for event in events:
        if event.event == Event.START:
            start = event
        elif start is not None and event.target != Status.RUNNING:
            found.append(Attempt(start.attempt, start.who, start.at, event, event.at))
            start = None
    if start is not None:
        found.append(Attempt(start.attempt, start.who, start.at, None, now))
    return found


def picture(events: Sequence[EventRow], now: dt.datetime) -> list[Phase]:
    """The phases side by side. Widths grow with the logarithm of the time, so that a run of
    milliseconds can be seen beside a wait of hours; the titles have the times themselves."""
    spans: list[tuple[EventRow, float | None]] = []
    changes = [event for event in events if event.source != event.target]
    for event, following in zip(changes, [*changes[1:], None], strict=True):
        until = following.at if following else (None if event.target in FINAL else now)
        spans.append((event, (until - event.at).total_seconds() if until else None))
    if not spans:
        return []
    weights = [_weight(seconds) for _, seconds in spans]
    free = PICTURE_WIDTH - LEAST_WIDTH * len(spans)
    scale = max(free, 0) / (sum(weights) or 1)
    phases: list[Phase] = []
    x = 0.0
    for (event, seconds), weight in zip(spans, weights, strict=True):
        width = LEAST_WIDTH + weight * scale
        lasting = "since then" if seconds is None else show.duration(seconds)
        attempt = f", attempt {event.attempt}" if event.target == Status.RUNNING else ""
        title = f"{event.target.replace('_', ' ')}{attempt}: {lasting}"
        phases.append(Phase(event.target, round(x, 1), round(width, 1), title))
        x += width
    return phases


def _weight(seconds: float | None) -> float:
    """One more for each ten times as long, from 1 ms on; the end, which has no length, gets a little."""
    return 1.0 if seconds is None else math.log10(1 + max(seconds, 0) * 1000) + 0.2
