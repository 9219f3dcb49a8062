"""Many finished jobs, put into our tables by SQL: copies of jobs that were really run, with their events and keys.

One of twenty copies is of a job that failed. Each has an id and an idempotency key of its own (a random one,
as clients make them), and times that go back from now in even steps.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

from benchmarks.calls import Poster
from benchmarks.peers.base import Api
from benchmarks.peers.ours import OurSite
from benchmarks.stores import SQLiteStore, Store
from benchmarks.waiting import until

STEP_MS = 500
START_AFTER_MS, FINISH_AFTER_MS = 4, 8
SUCCEEDED, FAILED = "template-succeeded", "template-failed"
ONE_FAILED_OF = 20


@dataclass(frozen=True)
class Dialect:
    """`n` counts the copies from 1; `ms` is an expression for Unix milliseconds."""

    series: str
    uuid: str
    moment: str
    random_key: str
    columns: str
    settings: tuple[str, ...]
    """For the filling alone, in its own connection."""
    afterwards: tuple[str, ...]
    """What a database in use has done by itself by the time it holds so many rows."""


SQLITE = Dialect(
    series="WITH RECURSIVE series (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {jobs})",
    uuid="printf('%012x', {ms}) || '70008' || printf('%015x', n)",
    moment="strftime('%Y-%m-%d %H:%M:%f', ({ms}) / 1000.0, 'unixepoch') || '000'",
    random_key="lower(hex(randomblob(16)))",
    columns="SELECT name FROM pragma_table_info('{table}')",
    settings=("PRAGMA synchronous = OFF", "PRAGMA cache_size = -1000000"),
    afterwards=("PRAGMA wal_checkpoint(TRUNCATE)",),
)
POSTGRES = Dialect(
    series="WITH series AS (SELECT generate_series(1, {jobs}::bigint) AS n)",
    uuid="(lpad(to_hex({ms}), 12, '0') || '70008' || lpad(to_hex(n), 15, '0'))::uuid",
    moment="to_timestamp(({ms}) / 1000.0)",
    random_key="md5(random()::text || n)",
    columns="SELECT column_name FROM information_schema.columns WHERE table_name = '{table}'",
    settings=("SET synchronous_commit = off",),
    afterwards=("VACUUM ANALYZE", "CHECKPOINT"),
)


@dataclass(frozen=True)
class Stock:
    jobs: int
    first_ms: int

    def id_of(self, number: int) -> str:
        """Of the copy of that number, from 1."""
        return str(uuid.UUID(f"{self.first_ms + number * STEP_MS:012x}70008{number:015x}"))


def fill(site: OurSite, api: Api, jobs: int) -> Stock:
    """Put so many finished jobs into the tables of a site that has none yet."""
    _run_templates(site, api)
    dialect = SQLITE if isinstance(site.store, SQLiteStore) else POSTGRES
    stock = Stock(jobs, int(time.time() * 1000) - (jobs + 1) * STEP_MS)
    copies = _Copies(site.store, dialect, stock).statements()
    site.store.write([*dialect.settings, "BEGIN", *copies, "COMMIT", *dialect.afterwards])
    return stock


def _run_templates(site: OurSite, api: Api) -> None:
    with closing(Poster(api)) as poster:
        poster.post(SUCCEEDED, {"value": ["one", "two", "three"]})
        poster.post(FAILED, {"value": ["one", "two", "three"], "permanent": True})
    worker = site.start_worker(1)
    until(site.done, lambda done: done == 2, "two jobs to be done")
    site.processes.end(worker)


@dataclass(frozen=True)
class _Copies:
    store: Store
    dialect: Dialect
    stock: Stock

    def statements(self) -> list[str]:
        template = f"CASE WHEN n % {ONE_FAILED_OF} = 0 THEN '{FAILED}' ELSE '{SUCCEEDED}' END"
        jobs = f"series JOIN jobs_job AS job ON job.key = {template}"
        events = f"{jobs} JOIN jobs_event AS event ON event.job_id = job.id"
        keys = f"series JOIN jobs_idempotencykey AS key ON key.key = {template} JOIN jobs_job AS job ON job.id = {self._id}"
        return [
            self._insert("jobs_job", "job", jobs, "n", self._job()),
            self._insert("jobs_event", "event", events, "n, event.id", self._event()),
            self._insert("jobs_idempotencykey", "key", keys, "n", self._key()),
        ]

    def _job(self) -> dict[str, str]:
        return {
            "id": self._id,
            "key": self.dialect.random_key,
            "created_at": self._moment(),
            "queued_at": self._moment(),
            "started_at": self._moment(f"{START_AFTER_MS}"),
            "finished_at": self._moment(f"{FINISH_AFTER_MS}"),
        }

    def _event(self) -> dict[str, str]:
        after = f"CASE event.event WHEN 'submit' THEN 0 WHEN 'start' THEN {START_AFTER_MS} ELSE {FINISH_AFTER_MS} END"
        return {"job_id": self._id, "at": self._moment(after)}

    def _key(self) -> dict[str, str]:
        return {"job_id": self._id, "key": "job.key", "created_at": "job.created_at"}

    def _insert(self, table: str, source: str, rows: str, order: str, made: Mapping[str, str]) -> str:
        """Columns that are not made are copied; the numbers of events and keys come by themselves."""
        columns = [row[0] for row in self.store.rows(self.dialect.columns.format(table=table))]
        wanted = [column for column in columns if column != "id" or "id" in made]
        values = ", ".join(made.get(column, f"{source}.{column}") for column in wanted)
        series = self.dialect.series.format(jobs=self.stock.jobs)
        return f"INSERT INTO {table} ({', '.join(wanted)}) {series} SELECT {values} FROM {rows} ORDER BY {order}"

    @property
    def _id(self) -> str:
        return self.dialect.uuid.format(ms=self._ms())

    def _moment(self, after: str = "0") -> str:
        return self.dialect.moment.format(ms=self._ms(after))

    def _ms(self, after: str = "0") -> str:
        return f"({self.stock.first_ms} + n * {STEP_MS} + {after})"
