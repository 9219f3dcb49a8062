"""What a fault run says at its end about its faults, whatever the system."""

from __future__ import annotations

from collections import Counter

from tests.chaos.history import History


def faults(history: History) -> list[str]:
    """A line for each kind: how often, how often in vain, and how soon a new job was done after it."""
    kinds, void = _kinds(history, "break"), _kinds(history, "void")
    lines = [f"{'fault':28}{'times':>6}{'void':>6}   recovery of a new job, p50 / max s"]
    for kind, count in sorted(kinds.items()):
        took = _recoveries(history, kind)
        figures = f"{quantile(took, 0.5):.2f} / {max(took):.2f}" if took else "-"
        lines.append(f"{kind:28}{count:>6}{void[kind]:>6}   {figures}")
    lines += [f"void: {entry['fault']}: {entry['error']}" for entry in history.of("void")]
    return lines


def totals(history: History) -> list[str]:
    kinds, took = _kinds(history, "break"), _recoveries(history)
    return [
        f"faults      {sum(kinds.values())} of {len(kinds)} kinds",
        f"recovery    p50 {quantile(took, 0.5):.2f} s, p95 {quantile(took, 0.95):.2f} s, max {max(took, default=0):.2f} s",
    ]


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


def _kinds(history: History, what: str) -> Counter[str]:
    return Counter(entry["fault"] for entry in history.of(what))


def _recoveries(history: History, kind: str | None = None) -> list[float]:
    """Seconds, where no other fault came between."""
    return [entry["took"] for entry in history.of("recovered") if entry["alone"] and kind in (None, entry["fault"])]
