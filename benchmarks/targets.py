"""The targets, judged by the medians of one run. The first figure must be met, the second is what we are after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.measures.growth import SIZES, case, slowdown
from benchmarks.numbers import shown
from benchmarks.peers.base import OWN_SETTING
from benchmarks.runner import Figure

Value = Callable[[Sequence[Figure]], float | None]

DATABASES = ("SQLite", "PostgreSQL")
BULLMQ, BULLMQ_ON_POSTGRESQL = "bullmq (", "bullmq-postgresql ("
GROWN = {
    "accept": ("accept (jobs/s)",),
    "drain": ("drain (jobs/s)",),
    "admin pages": (
        "admin list, first page (ms)",
        "admin list, one status (ms)",
        "admin search by id (ms)",
        "admin search by key (ms)",
    ),
}


@dataclass(frozen=True)
class Target:
    words: str
    value: Value
    unit: str
    first: float
    second: float | None = None
    is_less_better: bool = False

    def is_met(self, value: float | None, bound: float) -> str:
        if value is None:
            return "not measured"
        return "met" if (value <= bound if self.is_less_better else value >= bound) else "missed"


@dataclass(frozen=True)
class Verdict:
    """A row of the table, in words."""

    target: str
    figure: str
    first: str
    second: str


def judge(figures: Sequence[Figure]) -> list[Verdict]:
    return [_judged(target, target.value(figures)) for target in TARGETS]


def _judged(target: Target, value: float | None) -> Verdict:
    sign = "≤" if target.is_less_better else "≥"

    def bounded(bound: float | None) -> str:
        return "–" if bound is None else f"{sign} {bound:g} {target.unit}: {target.is_met(value, bound)}"

    figure = "–" if value is None else f"{shown(value)} {target.unit}"
    return Verdict(target.words, figure, bounded(target.first), bounded(target.second))


def _over(
    figures: Sequence[Figure], *, database: str, measure: str, case: str, peer: str, peer_case: str = ""
) -> float | None:
    """Ours over the fastest setting of the peer: the hardest comparison there is."""
    ours = _ours(figures, database=database, measure=measure, case=case)
    begin, _, end = peer.partition("…")
    theirs = [
        figure.median
        for figure in figures
        if (figure.measure, figure.case) == (measure, peer_case or case)
        and figure.system.startswith(begin)
        and figure.system.endswith(end)
        and figure.median
    ]
    return ours / max(theirs) if ours and theirs else None


def _ours(figures: Sequence[Figure], *, database: str, measure: str, case: str) -> float | None:
    wanted = (measure, case, f"ours ({database})")
    return next((f.median for f in figures if (f.measure, f.case, f.system) == wanted), None)


def _slowest(figures: Sequence[Figure], *, database: str, operations: Sequence[str]) -> float | None:
    """How much slower the slowest is with the most stored jobs, if that was measured."""
    found = []
    for operation in operations:
        few, many = (
            _ours(figures, database=database, measure="growth", case=case(operation, size))
            for size in (SIZES[0], SIZES[-1])
        )
        if not few or not many:
            return None
        found.append(slowdown(operation, few, many))
    return max(found)


def _ratio(
    database: str, measure: str, case: str, first: float, second: float | None, peer: str = BULLMQ, peer_case: str = ""
) -> Target:
    """`peer`: how the names of the systems begin that it is compared with; after an ellipsis, how they end."""
    product, _, end = peer.partition("…")
    named = product.rstrip(" (") + (f", {end.rstrip(')')}" if end else "")
    words = f"{measure}, {case}, {database}: ours over {named}" + (f", {peer_case}" if peer_case else "")
    value = partial(_over, database=database, measure=measure, case=case, peer=peer, peer_case=peer_case)
    return Target(words, value, "×", first, second)


def _bound(database: str, measure: str, case: str, unit: str, first: float, second: float | None = None) -> Target:
    value = partial(_ours, database=database, measure=measure, case=case)
    return Target(f"{measure}, {case}, {database}", value, unit, first, second, is_less_better=True)


def _grown(database: str, words: str) -> Target:
    value = partial(_slowest, database=database, operations=GROWN[words])
    sizes = f"{SIZES[0]:,} → {SIZES[-1]:,} stored jobs"
    return Target(f"{words}, {database}, {sizes}: slower by", value, "×", 1.25, 1.1, is_less_better=True)


def _on(database: str) -> list[Target]:
    return [
        _ratio(database, "drain", "concurrency 50", 10, 25, f"celery (…results in {database})", OWN_SETTING),
        _ratio(database, "accept", "single", 0.5, 1.0),
        _ratio(database, "accept", "batch of 100", 1.0, 4.0, peer_case="single"),
        _ratio(database, "status", "whole answer", 1.0, 1.5),
        _ratio(database, "pipeline", "concurrency 50", 0.4, 1.0),
        _bound(database, "latency", "p50", "ms", 5, 2),
        _bound(database, "latency", "p99", "ms", 20, 8),
        *(_grown(database, words) for words in GROWN),
        _bound(database, "idle", "memory", "MB", 120),
        _bound(database, "idle", "processor", "% of a core", 1),
    ]


TARGETS = (
    _ratio("SQLite", "drain", "concurrency 10", 0.6, 1.2),
    _ratio("SQLite", "drain", "concurrency 50", 1.0, 2.0),
    *(_ratio("PostgreSQL", "drain", f"concurrency {number}", 0.5, 1.0) for number in (10, 50)),
    *(_ratio("PostgreSQL", "drain", f"concurrency {number}", 1.0, None, BULLMQ_ON_POSTGRESQL) for number in (10, 50)),
    *(target for pair in zip(*map(_on, DATABASES), strict=True) for target in pair),
)
