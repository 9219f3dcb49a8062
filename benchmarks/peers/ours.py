"""This project as production runs it: `serve`, `rqworker`, DEBUG off, logs at INFO in a file."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.base import Api, Site, System
from benchmarks.services import NotMeasured, Processes, free_port, inherited, listens

ROOT = Path(__file__).resolve().parent.parent.parent
SET_UP_TIMEOUT_S = 60


@dataclass(frozen=True)
class Ours(System):
    product: str = "ours"
    setting: str = "SQLite"
    persists: str = "job, events, idempotency key in SQLite, synchronous=FULL; status and ids in Valkey"

    def site(self, processes: Processes) -> Site:
        return OurSite(processes)


class OurSite(Site):
    def __init__(self, processes: Processes) -> None:
        super().__init__(processes)
        port = processes.broker().connection_pool.connection_kwargs["port"]
        self._accepted: int | None = None  # known once a worker runs: nothing is accepted from then on
        self._database = processes.folder / "db.sqlite3"
        self._environment = {
            "ENV_FILE": os.devnull,
            "SECRET_KEY": secrets.token_urlsafe(50),
            "DATABASE_URL": f"sqlite:///{self._database}",
            "REDIS_URL": f"redis://127.0.0.1:{port}/0",
            "ALLOWED_HOSTS": "127.0.0.1",
            "JOBS_DATA_DIR": str(processes.folder / "data"),
            "JOBS_DEMO": "1",
            "DEBUG": "0",
        }
        self._manage("migrate", "-v", "0")
        self._key = json.loads(self._manage("apikey", "create", "bench", "--unlimited", "--json"))["key"]

    def start_api(self) -> Api:
        port = free_port()
        process = self.processes.start("serve", self._command("serve", "--port", str(port)), self._environment)
        self.processes.await_ready(process, lambda: listens(port))
        jobs = f"http://127.0.0.1:{port}/api/jobs"
        return Api(process, jobs, f"{jobs}/batch", {"authorization": f"Bearer {self._key}"})

    def start_worker(self, concurrency: int) -> None:
        self._accepted = self._count("TRUE")
        self.processes.start("worker", self._command("rqworker", "--concurrency", str(concurrency)), self._environment)

    def remaining(self) -> int:
        """By the index of finished jobs alone: a scan of the table at each look would slow what is measured."""
        accepted = self._count("TRUE") if self._accepted is None else self._accepted
        return accepted - self._count("finished_at IS NOT NULL")

    def _count(self, condition: str) -> int:
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True, timeout=10)) as database:
            counted = database.execute(f"SELECT count(*) FROM jobs_job WHERE {condition}").fetchone()
        return int(counted[0])

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, str(ROOT / "manage.py"), *arguments]

    def _manage(self, *arguments: str) -> str:
        done = subprocess.run(
            self._command(*arguments),
            env={**inherited(), **self._environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SET_UP_TIMEOUT_S,
        )
        if done.returncode != 0:
            raise NotMeasured(f"`manage.py {arguments[0]}` failed: {done.stderr.strip()[-300:]}")
        return done.stdout
