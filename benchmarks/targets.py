"""The targets: ours over a peer in the same rounds. The first figure must be met, the second is what we are after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.runner import Figure

PEER = "bullmq"


@dataclass(frozen=True)
class Target:
    measure: str
    case: str
    first: float
    second: float
    peer_case: str = ""  # when the peer does not do the same: its case to compare with


@dataclass(frozen=True)
class Verdict:
    target: Target
    ratio: float | None

    def is_met(self, figure: float) -> str:
        if self.ratio is None:
            return "not measured"
        return "met" if self.ratio >= figure else "missed"


TARGETS = (
    Target("drain", "concurrency 10", 0.6, 1.2),
    Target("drain", "concurrency 50", 1.0, 2.0),
    Target("accept", "single", 0.5, 1.0),
    Target("accept", "batch of 100", 1.0, 4.0, peer_case="single"),
)


def judge(figures: Sequence[Figure]) -> list[Verdict]:
    return [Verdict(target, _ratio(target, figures)) for target in TARGETS]


def _ratio(target: Target, figures: Sequence[Figure]) -> float | None:
    """Against the fastest setting of the peer: the hardest comparison there is."""
    ours = _best(figures, target.measure, target.case, "ours")
    peer = _best(figures, target.measure, target.peer_case or target.case, PEER)
    return ours / peer if ours and peer else None


def _best(figures: Sequence[Figure], measure: str, case: str, product: str) -> float | None:
    found = [
        figure.median
        for figure in figures
        if (figure.measure, figure.case) == (measure, case) and figure.system.startswith(f"{product} (")
    ]
    return max((median for median in found if median is not None), default=None)
