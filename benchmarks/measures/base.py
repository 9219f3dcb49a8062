"""A measure: what it does with one fresh site, for each of its cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.peers.base import Site


@dataclass(frozen=True)
class Case:
    """One figure. `run(site, is_quick)` gives it, in the measure's unit."""

    name: str
    run: Callable[[Site, bool], float]


@dataclass(frozen=True)
class Measure:
    title: str
    unit: str
    rule: str
    cases: tuple[Case, ...]
