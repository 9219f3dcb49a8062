"""What is left out of a fault run unless `--pending` is given: it shows defects that are known and not mended yet."""

from __future__ import annotations

HOSTILE = frozenset({"refused", "rolled back", "exits", "offspring", "spoiler", "world"})
FAULTS = frozenset(
    {
        "cancel in bulk", "large results", "containers", "rival", "leave transaction behind", "hold write lock",
        "lock running rows", "lock waiting rows", "lock lease", "lock queue state", "lock table",
        "stop with locked rows", "kill in mid statement", "signal horse", "set api clock wrong", "restore database",
    }
)  # fmt: skip
LAWS = frozenset({"I20", "I23"})
