"""The system of a fault run: its own folder, database and broker, and every process by its role."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.chaos import replica
from tests.chaos.proxy import Mode, Proxy
from tests.support import http, postgres
from tests.support.eventually import eventually
from tests.support.processes import ROOT, Process, free_port

CLIENT = "chaos"
SCHEDULE = "chaos-slots"
SCHEDULE_S = 2


def make(database: str, lease_s: float) -> dict[str, str]:
    """Set up folder and server, and this process' environment. Before Django is imported."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))
    environment = {
        "ENV_FILE": os.devnull,
        "DJANGO_SETTINGS_MODULE": "tests.chaos.site_settings",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "DEBUG": "1",
        "SECRET_KEY": "only-for-tests-" + "x" * 40,
        "JOBS_DATA_DIR": str(folder),
        "JOBS_DEMO": "1",
        "JOBS_LEASE_S": str(lease_s),
        "JOBS_RENEW_S": str(lease_s / 5),
        "JOBS_RATE_LIMIT": "",
        "JOBS_STOP_GRACE_S": "3",
        "JOBS_HARD_TIMEOUT_EXTRA_S": "2",
        "JOBS_QUEUES": "high default low bulk",
        "DATABASE_URL": "",
        "REDIS_URL": "",
        "EMAIL_URL": "",
    }
    if database == "postgres":
        environment["DATABASE_URL"] = postgres.server(folder).url("postgres")
    os.environ.update(environment)
    return environment


class Site:
    """Roles: api, first and second (workers), ticker-1 and ticker-2 (schedulers). `second` reaches the broker, and
    PostgreSQL, through proxies; clients reach the API through one."""

    program: list[str] | None = None
    """What the roles' arguments are given to; None: `manage.py`."""

    has_replica = True

    def __init__(self, database: str, lease_s: float, mutant: str = "") -> None:
        from jobsite import broker

        self.database, self.lease_s = database, lease_s
        self.folder = Path(os.environ["JOBS_DATA_DIR"])
        self.port = free_port()
        self.processes: dict[str, Process] = {}
        self.lock = threading.RLock()
        self.is_closing = False
        self.calm = threading.Event()
        """Set while nothing deadly is to be asked for."""

        self.on_end: Callable[[str, int, int], object] = lambda role, pid, code: None
        """Called with the exit code of a process that ended by itself."""

        self._starter = ThreadPoolExecutor(max_workers=1)
        self._mutant = mutant
        (self.folder / "logs").mkdir()
        broker.start(self.folder)
        self.broker_proxy = Proxy(broker.socket_path(self.folder))
        self.api_proxy = Proxy(self.port)
        self.server = postgres.server(self.folder) if database == "postgres" else None
        self.database_proxy = Proxy(self.server.port) if self.server else None
        self._prepare()
        self.replica = replica.started(self.folder, self.server) if self.has_replica else None
        self.roles = self._roles()

    def _roles(self) -> dict[str, tuple[list[str], dict[str, str]]]:
        """Arguments and own environment of each process."""
        return {
            "api": (["serve", "--port", str(self.port)], {}),
            "first": (["rqworker", "--concurrency", "6"], {}),
            "second": (["rqworker", "--concurrency", "6"], self._through_proxies()),
            "ticker-1": (["rqscheduler"], {}),
            "ticker-2": (["rqscheduler"], {}),
        }

    def _prepare(self) -> None:
        from django.core.management import call_command
        from django.db import connection

        from jobs.api import keys
        from jobs.models import Schedule
        from jobs.schedules import editing
        from tests.chaos.handlers import TABLE

        call_command("migrate", verbosity=0)
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLE {TABLE} (job_id text NOT NULL, attempt int NOT NULL)")
        scopes = ["jobs:create", "jobs:read", "jobs:cancel", "jobs:retry", "jobs:all"]
        self.key = str(keys.create(CLIENT, scopes, is_unlimited=True)[1])
        editing.store(Schedule(name=SCHEDULE, type="chaos", every_s=SCHEDULE_S, catch_up="all"), who="harness")
        Schedule.objects.exclude(name=SCHEDULE).update(enabled=False)

    def _through_proxies(self) -> dict[str, str]:
        found = {"REDIS_URL": f"redis://127.0.0.1:{self.broker_proxy.port}/0"}
        if self.server is not None and self.database_proxy is not None:
            found["DATABASE_URL"] = self.server.url("postgres").replace(
                f":{self.server.port}/", f":{self.database_proxy.port}/"
            )
        return found

    def rival_url(self) -> str:
        """Another environment's database, made at first use."""
        folder = self.folder / "rival"
        url = f"sqlite:///{folder / 'jobs.sqlite3'}" if self.server is None else self.server.url("rival")
        if not folder.exists():
            import psycopg

            folder.mkdir()
            if self.server is not None:
                with psycopg.connect(self.server.url("postgres"), autocommit=True) as connection:
                    connection.execute("CREATE DATABASE rival")
            environment = {**os.environ, "DATABASE_URL": url}
            command = [sys.executable, str(ROOT / "manage.py"), "migrate", "--verbosity", "0"]
            subprocess.run(command, env=environment, cwd=ROOT, check=True, capture_output=True)
        return url

    # --- processes --------------------------------------------------------------------------------

    def start(self, role: str, **environment: str) -> Process:
        arguments, own = self.roles[role]
        with self.lock:
            started = self.processes[role] = self.process(role, arguments, {**own, **environment}, self.program)
        return started

    def process(
        self, name: str, arguments: list[str], environment: dict[str, str], program: list[str] | None = None
    ) -> Process:
        """One more process, with the site's environment and the mutant; it is not started again by `ensure`."""
        from tests.chaos.mutants import VARIABLE

        everything = {**os.environ, VARIABLE: self._mutant, **environment}
        if self.replica is not None:
            everything[replica.VARIABLE] = self.replica.name
        log = self.folder / "logs" / f"{name}.log"
        # One thread for all of them: they die with the thread that started them.
        return self._starter.submit(Process, arguments, everything, log, program).result()

    def start_all(self) -> None:
        for role in self.roles:
            self.start(role)
        eventually(self.is_live, timeout_s=30)

    def is_live(self) -> bool:
        with contextlib.suppress(OSError):
            return http.call(f"http://127.0.0.1:{self.port}", "GET", "/health/live", timeout_s=2).status == 200
        return False

    def ensure(self) -> None:
        """Start again what died: the supervisor that every installation has."""
        with self.lock:
            for role, process in self.processes.items():
                if not process.is_alive and not self.is_closing:
                    if not process.was_told:
                        self.on_end(role, process.pid, process.wait())
                    self.start(role)

    def horse(self, role: str) -> int | None:
        children = self.processes[role].children()
        return children[0] if children else None

    def heal(self) -> None:
        """Everything as it should be: network, broker, database, processes."""
        import redis

        from jobsite import broker

        for proxy in (self.broker_proxy, self.api_proxy, self.database_proxy):
            if proxy is not None:
                proxy.mode = Mode.PASS
        if self.server is not None and not self.server.is_running:
            self.server.start()
        broker.start(self.folder)
        with self.redis() as connection, contextlib.suppress(redis.RedisError):
            connection.replicaof("NO", "ONE")  # type: ignore[no-untyped-call]
            connection.config_set("maxmemory", 0)
        self.ensure()

    def redis(self) -> Any:
        import redis

        from jobsite import broker

        return redis.Redis.from_url(broker.url(self.folder), socket_timeout=5)

    def call(self, method: str, path: str, body: Any = None, timeout_s: float = 8, **options: Any) -> http.Reply:
        url = f"http://127.0.0.1:{self.api_proxy.port}"
        return http.call(url, method, path, body, key=self.key, timeout_s=timeout_s, **options)

    def lines(self, name: str) -> list[list[str]]:
        path = self.folder / name
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def close(self, *, is_kept: bool = False) -> None:
        from jobsite import broker

        self.is_closing = True
        for process in self.processes.values():
            process.destroy()
        broker.stop(self.folder)
        if self.replica is not None:
            self.replica.close()
        if self.server is not None:
            self.server.stop()
        if is_kept:
            sys.stdout.write(f"kept for a look: {self.folder}\n")
        else:
            time.sleep(0.2)  # horses that die with their parents
            shutil.rmtree(self.folder, ignore_errors=True)
