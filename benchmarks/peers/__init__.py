"""One class a product. `SYSTEMS` lists every product and setting that is measured, ours first."""

from __future__ import annotations

from benchmarks.peers.base import System
from benchmarks.peers.bullmq import BullMQ
from benchmarks.peers.bullmq_postgres import BullMQPostgres
from benchmarks.peers.celery import CELERY
from benchmarks.peers.others import OTHERS
from benchmarks.peers.ours import Ours
from benchmarks.peers.rq import RQ
from benchmarks.stores import PostgresStore

SYSTEMS: list[System] = [
    Ours(),
    Ours(
        setting="PostgreSQL",
        persists=(
            "job, events, idempotency key in PostgreSQL, fsync and synchronous_commit on: nothing that was accepted is lost; "
            "status and ids in Valkey, made anew from PostgreSQL when they are lost"
        ),
        store=PostgresStore,
    ),
    Ours(setting="SQLite, DEBUG=1", persists="as ours (SQLite)", is_debug=True),
    BullMQ(),
    BullMQ(
        setting="completed jobs dropped",
        persists="job in Valkey until it is done; no database, up to a second lost with the broker",
        keeps_completed=False,
    ),
    BullMQPostgres(),
    BullMQPostgres(
        setting="completed jobs dropped",
        persists="job in PostgreSQL until it is done, an event stream; fsync and synchronous_commit on",
        keeps_completed=False,
    ),
    *RQ,
    *CELERY,
    *OTHERS,
]
