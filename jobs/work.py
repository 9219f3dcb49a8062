"""What a horse wants written in one turn, and what came of it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from jobs.context import Line
from jobs.outcome import Outcome
from jobs.rows import Entry, Row
from jobs.transitions import Claimed


class Runs(Protocol):
    """An attempt that this horse runs."""

    @property
    def claimed(self) -> Claimed: ...


@dataclass(frozen=True, slots=True)
class Work:
    outcomes: Sequence[Outcome]
    wanted: Sequence[uuid.UUID]
    lines: Sequence[tuple[Row, Sequence[Line]]]
    is_tick: bool
    running: Mapping[uuid.UUID, Runs]
    """What this horse runs, outcomes included."""


@dataclass(slots=True)
class Done:
    moved: list[Row] = field(default_factory=list)
    entries: Sequence[Entry] = ()
    """Of the first of these rows, for Redis, which are all jobs that plainly succeeded."""

    opened: Sequence[str] = ()
    """What was claimed; each is yet to become a `Claimed.of`."""

    taken_back: list[Row] = field(default_factory=list)
    """Jobs that were running under the lease, but not here, and are queued again: among those that moved."""

    cancelled: list[uuid.UUID] = field(default_factory=list)
    paused: list[str] = field(default_factory=list)
    is_revoked: bool = False
    """Nothing that was wanted could be claimed, because somebody took this horse for dead."""
