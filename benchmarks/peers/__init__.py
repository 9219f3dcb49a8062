"""One class a product. `SYSTEMS` lists every product and setting that is measured, ours first."""

from __future__ import annotations

from benchmarks.peers.base import System
from benchmarks.peers.bullmq import BullMQ
from benchmarks.peers.ours import Ours

SYSTEMS: list[System] = [
    Ours(),
    BullMQ(),
    BullMQ(
        setting="completed jobs dropped",
        persists="job in Valkey until it is done; no database, up to a second lost with the broker",
        keeps_completed=False,
    ),
]
