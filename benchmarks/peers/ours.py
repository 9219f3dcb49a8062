"""This project as production runs it: `serve`, `rqworker`, DEBUG off, logs at INFO in a file."""

from __future__ import annotations

import json
import os
import secrets
import sys
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from subprocess import Popen
from typing import Any

import redis

from benchmarks.peers.base import OWN_SETTING, Account, Api, Site, System
from benchmarks.services import Processes, free_port, listens, output
from benchmarks.stores import PostgresStore, SQLiteStore, Store

ROOT = Path(__file__).resolve().parent.parent.parent
SET_UP_TIMEOUT_S = 60
PACES = {SQLiteStore: {1: 5_000, 10: 10_000, 50: 15_000}, PostgresStore: {1: 2_000, 10: 5_000, 50: 8_000}}


@dataclass(frozen=True)
class Ours(System):
    product: str = "ours"
    setting: str = "SQLite"
    persists: str = (
        "job, events, idempotency key in SQLite, synchronous=FULL: nothing that was accepted is lost; "
        "status and ids in Valkey, made anew from SQLite when they are lost"
    )
    store: type[Store] = SQLiteStore

    is_debug: bool = False

    def takes_part(self, measure: str, case: str) -> bool:
        if self.is_debug:
            return (measure, case) == ("accept", "single")
        return case != OWN_SETTING

    def site(self, processes: Processes) -> Site:
        return OurSite(processes, _prepared(self.store), is_debug=self.is_debug)


@dataclass(frozen=True)
class Prepared:
    """Tables and an API key, made once a run and copied: migrating takes longer than some figures."""

    secret_key: str
    api_key: str
    copy: Callable[[Processes], Store]


@cache
def _prepared(store_type: type[Store]) -> Prepared:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, Processes(Path(folder)) as processes:
        store = store_type(processes)
        environment = _environment(processes, store, processes.broker(), secrets.token_urlsafe(50))
        _manage(environment, "migrate", "-v", "0")
        made = _manage(environment, "apikey", "create", "bench", "--unlimited", "--json")
        return Prepared(environment["SECRET_KEY"], json.loads(made)["key"], store.copies())


class OurSite(Site):
    def __init__(self, processes: Processes, prepared: Prepared, *, is_debug: bool = False) -> None:
        super().__init__(processes)
        self.store = prepared.copy(processes)
        self.paces = PACES[type(self.store)]
        self.broker = processes.broker()
        self._key = prepared.api_key
        self._accepted: int | None = None  # known once a worker runs: nothing is accepted from then on
        self._environment = _environment(processes, self.store, self.broker, prepared.secret_key) | {
            "DEBUG": str(int(is_debug))
        }

    def start_api(self) -> Api:
        port = free_port()
        process = self.processes.start("serve", _command("serve", "--port", str(port)), self._environment)
        self.processes.await_ready(process, lambda: listens(port))
        jobs = f"http://127.0.0.1:{port}/api/jobs"
        return Api(process, jobs, f"{jobs}/batch", {"authorization": f"Bearer {self._key}"}, f"{jobs}/{{id}}/status")

    def start_worker(self, concurrency: int) -> Popen[bytes]:
        if self._accepted is None:
            self._accepted = self._count("TRUE")
        command = _command("rqworker", "--concurrency", str(concurrency))
        return self.processes.start("worker", command, self._environment)

    def remaining(self) -> int:
        """By the index of finished jobs alone: a scan of the table at each look would slow what is measured."""
        accepted = self._count("TRUE") if self._accepted is None else self._accepted
        return accepted - self._count("finished_at IS NOT NULL")

    def done(self) -> int:
        return self._count("finished_at IS NOT NULL")

    def done_ids(self, most: int) -> list[str]:
        """Only those whose mirror says that they succeeded: the API believes that without asking the database."""
        newest = f"SELECT id FROM jobs_job WHERE finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT {most}"
        ids = [str(uuid.UUID(str(text))) for (text,) in self.store.rows(newest)]
        mirrors: Any = self.broker.mget([f"jobs:status:{job_id}" for job_id in ids]) if ids else []
        is_believed = [mirror and json.loads(mirror)["status"]["status"] == "succeeded" for mirror in mirrors]
        return [job_id for job_id, believed in zip(ids, is_believed, strict=True) if believed]

    def started_at(self, prefix: str) -> dict[str, float]:
        started = f"SELECT key, started_at FROM jobs_job WHERE key LIKE '{prefix}%' AND started_at IS NOT NULL"
        return {key: _unix_s(at) for key, at in self.store.rows(started)}

    def starts(self, key: str) -> int:
        return self.store.number(f"SELECT coalesce(sum(attempt), 0) FROM jobs_job WHERE key = '{key}'")

    def key_of(self, job_id: str) -> str:
        stored = job_id if isinstance(self.store, PostgresStore) else job_id.replace("-", "")
        return str(self.store.rows(f"SELECT key FROM jobs_job WHERE id = '{stored}'")[0][0])

    def superuser(self) -> Account:
        account = Account("bench", secrets.token_urlsafe())
        self._environment["DJANGO_SUPERUSER_PASSWORD"] = account.password
        _manage(
            self._environment,
            "createsuperuser",
            "--noinput",
            "--username",
            account.name,
            "--email",
            "bench@example.com",
        )
        return account

    def _count(self, condition: str) -> int:
        return self.store.number(f"SELECT count(*) FROM jobs_job WHERE {condition}")


def _environment(processes: Processes, store: Store, broker: redis.Redis, secret_key: str) -> dict[str, str]:
    port = broker.connection_pool.connection_kwargs["port"]
    return {
        "ENV_FILE": os.devnull,
        "SECRET_KEY": secret_key,
        "DATABASE_URL": store.url,
        "REDIS_URL": f"redis://127.0.0.1:{port}/0",
        "ALLOWED_HOSTS": "127.0.0.1",
        "JOBS_DATA_DIR": str(processes.folder / "data"),
        "JOBS_DEMO": "1",
        "DEBUG": "0",
    }


def _command(*arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "manage.py"), *arguments]


def _manage(environment: dict[str, str], *arguments: str) -> str:
    return output(_command(*arguments), environment, SET_UP_TIMEOUT_S)


def _unix_s(moment: str | datetime) -> float:
    """Of a stored time: text in UTC on SQLite."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    return moment.timestamp()
