"""A measure: what it does with fresh sites, for each of its cases."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.peers.base import Site, System
from benchmarks.services import NotMeasured, Processes


class Beyond(Exception):
    """What is measured took longer than anybody waits for; the text says how long that was."""


class Figures(Protocol):
    """What gives one or several figures of a system in one go: `names` says which."""

    @property
    def names(self) -> Sequence[str]: ...

    def measured(self, system: System, is_quick: bool) -> Sequence[float | NotMeasured]:
        """In the order of the names. Raises what ends all of them; a reason in place of a figure ends that one."""


@dataclass(frozen=True)
class Case:
    """One figure. `run(site, is_quick)` gives it, in the measure's unit."""

    name: str
    run: Callable[[Site, bool], float]

    @property
    def names(self) -> Sequence[str]:
        return (self.name,)

    def measured(self, system: System, is_quick: bool) -> Sequence[float]:
        with fresh_site(system) as site:
            return (self.run(site, is_quick),)


@dataclass(frozen=True)
class Cases:
    """Several figures of one run, in the order of their names."""

    names: Sequence[str]
    run: Callable[[Site, bool], Sequence[float]]

    def measured(self, system: System, is_quick: bool) -> Sequence[float]:
        with fresh_site(system) as site:
            return self.run(site, is_quick)


@dataclass(frozen=True)
class Measure:
    title: str
    unit: str
    rule: str
    cases: tuple[Figures, ...]
    most_rounds: int | None = None
    """For a measure that takes its turns by itself."""


@contextmanager
def fresh_site(system: System) -> Iterator[Site]:
    """A broker, a database and processes of its own, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, Processes(Path(folder)) as processes:
        yield system.site(processes)
