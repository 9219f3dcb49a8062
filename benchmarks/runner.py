"""Rounds: in each, every system takes its turn at a case before the next case begins; then medians."""

from __future__ import annotations

import logging
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measures import MEASURES
from benchmarks.measures.base import Case
from benchmarks.peers.base import System
from benchmarks.services import NotMeasured, Processes

logger = logging.getLogger(__name__)


@dataclass
class Figure:
    """One cell: the figure of each round, or why there is none."""

    measure: str
    case: str
    system: str
    rounds: list[float] = field(default_factory=list)
    skipped: str = ""

    @property
    def median(self) -> float | None:
        return None if self.skipped or not self.rounds else statistics.median(self.rounds)


def run(names: Sequence[str], systems: Sequence[System], rounds: int, *, is_quick: bool) -> list[Figure]:
    cells = [
        (name, case, system)
        for name in names
        for case in MEASURES[name].cases
        for system in systems
        if system.takes_part(name, case.name)
    ]
    figures = [Figure(name, case.name, system.name) for name, case, system in cells]
    for number in range(1, rounds + 1):
        for figure, (_, case, system) in zip(figures, cells, strict=True):
            if not figure.skipped:
                _measure(figure, case, system, is_quick)
                logger.info("round %d: %s", number, _line(figure))
    return figures


def _measure(figure: Figure, case: Case, system: System, is_quick: bool) -> None:
    """A fresh broker, database and processes each time, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, Processes(Path(folder)) as processes:
        try:
            figure.rounds.append(case.run(system.site(processes), is_quick))
        except NotMeasured as error:
            figure.skipped = str(error)


def _line(figure: Figure) -> str:
    outcome = figure.skipped or f"{figure.rounds[-1]:,.0f}"
    return f"{figure.measure}, {figure.case}, {figure.system}: {outcome}"
