"""Express in front of BullMQ with its own PostgreSQL backend: no Valkey at all."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.node import command
from benchmarks.peers.base import OWN_SETTING, Site, System
from benchmarks.peers.bullmq import FASTEST, USUAL, BullMQSite
from benchmarks.services import Processes, output
from benchmarks.stores import PostgresStore

SET_UP_TIMEOUT_S = 60


@dataclass(frozen=True)
class BullMQPostgres(System):
    product: str = "bullmq-postgresql"
    setting: str = "completed jobs kept"
    persists: str = "job, result and an event stream in PostgreSQL, fsync and synchronous_commit on: nothing that was accepted is lost"
    keeps_completed: bool = True

    def takes_part(self, measure: str, case: str) -> bool:
        if self.keeps_completed:
            return measure in USUAL and case != OWN_SETTING
        return (measure, case) in FASTEST

    def site(self, processes: Processes) -> Site:
        return PostgresSite(processes, keeps_completed=self.keeps_completed)


class PostgresSite(BullMQSite):
    paces = {1: 1_500, 10: 3_000, 50: 3_000}

    def __init__(self, processes: Processes, *, keeps_completed: bool) -> None:
        self._store = PostgresStore(processes)
        super().__init__(processes, {"DATABASE_URL": self._store.url}, keeps_completed=keeps_completed)
        output(command("migrate.mjs"), self._environment, SET_UP_TIMEOUT_S)

    def remaining(self) -> int:
        return self._store.number("SELECT count(*) FROM bullmq.job WHERE state IN ('waiting', 'active')")

    def done(self) -> int:
        return self._store.number("SELECT count(*) FROM bullmq.job WHERE state = 'completed'")

    def done_ids(self, most: int) -> list[str]:
        newest = f"SELECT id FROM bullmq.job WHERE state = 'completed' ORDER BY finished_at_ms DESC LIMIT {most}"
        return [job_id for (job_id,) in self._store.rows(newest)]

    def started_at(self, prefix: str) -> dict[str, float]:
        started = f"id LIKE '{prefix}%' AND processed_at_ms IS NOT NULL"
        rows = self._store.rows(f"SELECT id, processed_at_ms FROM bullmq.job WHERE {started}")
        return {job_id: at / 1000 for job_id, at in rows}

    def starts(self, key: str) -> int:
        return self._store.number(f"SELECT coalesce(sum(attempts_started), 0) FROM bullmq.job WHERE id = '{key}'")
