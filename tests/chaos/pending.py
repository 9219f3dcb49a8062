"""What is left out of a fault run unless `--pending` is given: it shows defects that are known and not mended yet."""

from __future__ import annotations

HOSTILE = frozenset({"exits", "offspring", "programs"})
FAULTS = frozenset(
    {
        "leave transaction behind", "hold write lock", "lock running rows", "lock waiting rows", "lock lease",
        "lock queue state", "lock table", "stop with locked rows", "kill in mid statement", "signal horse",
    }
)  # fmt: skip
LAWS: frozenset[str] = frozenset()
