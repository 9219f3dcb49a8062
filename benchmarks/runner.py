"""Rounds: in each, every system takes its turn at a case before the next case begins; then medians."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.measures.base import Beyond, Figures, Measure
from benchmarks.numbers import shown
from benchmarks.peers.base import System
from benchmarks.services import NotMeasured

logger = logging.getLogger(__name__)


@dataclass
class Figure:
    """One cell: the figure of each round, or why there is none."""

    measure: str
    case: str
    system: str
    rounds: list[float] = field(default_factory=list)
    skipped: str = ""
    beyond: str = ""
    """The bound that it did not keep, in words; nothing else is known of it then."""

    @property
    def is_over(self) -> bool:
        return bool(self.skipped or self.beyond)

    @property
    def median(self) -> float | None:
        return None if self.is_over or not self.rounds else statistics.median(self.rounds)


@dataclass
class Turn:
    """What is measured in one go: a system, and its cells in the order of the names of `what`."""

    system: System
    what: Figures
    most_rounds: int | None
    figures: list[Figure]

    def take(self, is_quick: bool) -> None:
        try:
            measured = self.what.measured(self.system, is_quick)
        except NotMeasured as error:
            for figure in self.figures:
                figure.skipped = str(error)
            return
        except Beyond as error:
            for figure in self.figures:
                figure.beyond = str(error)
            return
        for figure, value in zip(self.figures, measured, strict=True):
            if isinstance(value, NotMeasured):
                figure.skipped = str(value)
            else:
                figure.rounds.append(value)

    def is_due(self, number: int) -> bool:
        is_more_wanted = self.most_rounds is None or number <= self.most_rounds
        return is_more_wanted and not any(figure.is_over for figure in self.figures)


def run(measures: Mapping[str, Measure], systems: Sequence[System], rounds: int, *, is_quick: bool) -> list[Figure]:
    turns = [turn for name, measure in measures.items() for turn in _turns(name, measure, systems)]
    for number in range(1, rounds + 1):
        for turn in turns:
            if turn.is_due(number):
                turn.take(is_quick)
                for figure in turn.figures:
                    logger.info("round %d: %s", number, _line(figure))
    return [figure for turn in turns for figure in turn.figures]


def _turns(name: str, measure: Measure, systems: Sequence[System]) -> list[Turn]:
    return [
        Turn(system, what, measure.most_rounds, [Figure(name, case, system.name) for case in what.names])
        for what in measure.cases
        for system in systems
        if all(system.takes_part(name, case) for case in what.names)
    ]


def _line(figure: Figure) -> str:
    outcome = figure.skipped or figure.beyond or shown(figure.rounds[-1])
    return f"{figure.measure}, {figure.case}, {figure.system}: {outcome}"
