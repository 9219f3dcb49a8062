"""The count of a control run, from outside: what clients were told, against what the ledgers say was done."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.chaos.history import History

AT_MOST_ONCE = frozenset({"hold", "skip", "transactional"})
"""Effects that our own run must not repeat; with `repeat` it may, under one key."""


@dataclass(frozen=True)
class Verdict:
    accepted: int
    ended: int
    """Accepted, and a run of them came to its end."""

    failed: frozenset[str]
    """Accepted, no run came to its end, and RQ told them as failed."""

    lost: frozenset[str]
    """Accepted, no run came to its end, and nothing tells of it."""

    effects: int
    """Accepted jobs with an effect that must not be repeated."""

    doubled: frozenset[str]
    """Those whose effect happened more than once."""

    pushed: frozenset[str]
    """Whose id the harness pushed again: RQ does not promise to run these once."""

    slots: int = 0
    slots_missing: int = 0
    slots_doubled: int = 0
    not_recovered: int = field(default=0)

    @property
    def doubled_otherwise(self) -> frozenset[str]:
        return self.doubled - self.pushed


def count(
    history: History,
    runs: Iterable[Sequence[str]],
    effects: Iterable[Sequence[str]],
    told: set[str],
    slots: tuple[int, int, int] = (0, 0, 0),
) -> Verdict:
    """`runs`, `effects`: the ledgers' lines. `told`: ids that RQ had as failed at any time."""
    accepted = {entry["id"]: entry["effect"] for entry in history.of("ok") if entry["op"] == "submit"}
    ended = {line[0] for line in runs if line[3] == "end"}
    times = Counter(line[0] for line in effects)
    once = {job_id for job_id, effect in accepted.items() if effect in AT_MOST_ONCE}
    without_end = set(accepted) - ended
    return Verdict(
        accepted=len(accepted),
        ended=len(accepted) - len(without_end),
        failed=frozenset(without_end & told),
        lost=frozenset(without_end - told),
        effects=len(once),
        doubled=frozenset(job_id for job_id in once if times[job_id] > 1),
        pushed=frozenset(job_id for entry in history.of("pushed") for job_id in entry["ids"]),
        slots=slots[0],
        slots_missing=slots[1],
        slots_doubled=slots[2],
        not_recovered=len(history.of("not recovered")),
    )


def waits(history: History, runs: Iterable[Sequence[str]]) -> list[float]:
    """Seconds from acceptance to the first run, of jobs that were run: what waits is what a wiped Redis loses."""
    accepted = {entry["id"]: entry["at"] for entry in history.of("ok") if entry["op"] == "submit"}
    begun: dict[str, float] = {}
    for job_id, _, _, what, at in runs:
        if what == "begin" and job_id in accepted:
            begun.setdefault(job_id, max(0.0, float(at) - accepted[job_id]))
    return list(begun.values())


def count_slots(
    names: Sequence[str], every_s: int, begin: float, end: float, lines: Iterable[Sequence[str]]
) -> tuple[int, int, int]:
    """(slots of all schedules between two moments, without a run, with more than one).

    A run belongs to the slot that was the latest when it was put into its queue; where that one has a run too many
    and the one before has none, it was that one's, late.
    """
    first, last = int(begin // every_s) + 1, int(end // every_s)
    runs: dict[str, Counter[int]] = defaultdict(Counter)
    for name, queued_at, *_ in lines:
        runs[name][int(float(queued_at) // every_s)] += 1
    missing = doubled = 0
    for name in names:
        of = runs[name]
        for slot in range(first, last + 1):
            if not of[slot] and of[slot + 1] > 1:
                of[slot], of[slot + 1] = 1, of[slot + 1] - 1
            missing += not of[slot]
            doubled += of[slot] > 1
    return max(0, last - first + 1) * len(names), missing, doubled
