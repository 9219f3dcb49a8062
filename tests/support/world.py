"""The whole system as processes, on the database, broker and data dir of this test run.

The test's own process sees the same database and Redis: it may submit, read models and assert on
tables while real workers run. Everything started here is ended with the test.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import redis

from jobsite import broker
from tests.support import http, sandbox
from tests.support.eventually import eventually
from tests.support.processes import ROOT, Process, free_port


class World:
    def __init__(self, api_key: str, data_dir: Path) -> None:
        self.api_key = api_key
        self.data_dir = data_dir
        self.url = ""
        """Of the API, once `serve` was called."""
        self.processes: list[Process] = []

    # --- processes ----------------------------------------------------------------------------------

    def manage(self, *arguments: str, cwd: Path = ROOT, **environment: str) -> Process:
        """Start `manage.py <arguments>`; further keywords are variables of its environment."""
        logs = self.data_dir / "logs"
        logs.mkdir(exist_ok=True)
        log_path = logs / f"{len(self.processes)}-{arguments[0]}.log"
        log_path.unlink(missing_ok=True)  # an earlier test's
        process = Process(
            list(arguments),
            self.environment(environment),
            log_path,
            cwd=cwd,
        )
        self.processes.append(process)
        return process

    def run(self, *arguments: str, timeout_s: float = 60, **environment: str) -> tuple[int, str]:
        """Run a command to its end: exit code and everything it wrote."""
        process = self.manage(*arguments, **environment)
        return process.wait(timeout_s), process.log

    def note(self, words: str) -> None:
        """A figure that the test measured, for whoever runs pytest with `-s`."""
        sys.stdout.write(f"\n{words}\n")

    def ask(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """The same with standard output and error apart, as `--json` promises."""
        command = [sys.executable, str(ROOT / "manage.py"), *arguments]
        return subprocess.run(
            command, env=self.environment(environment), cwd=ROOT, capture_output=True, text=True, timeout=60
        )

    def environment(self, more: dict[str, str] | None = None) -> dict[str, str]:
        return {
            **os.environ,
            **sandbox.children_environment(),
            "DJANGO_SETTINGS_MODULE": "tests.support.site_settings",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            **(more or {}),
        }

    def serve(self, **environment: str) -> Process:
        """Start the API on a free port; it answers when this returns."""
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        process = self.manage("serve", "--port", str(port), **environment)
        eventually(lambda: self._is_live(process), timeout_s=20, every_s=0.05)
        return process

    def worker(self, *arguments: str, **environment: str) -> Process:
        """Start a worker; its horse has a lease when this returns."""
        from jobs.models import Lease

        known = set(Lease.objects.values_list("id", flat=True))
        process = self.manage("rqworker", *arguments, **environment)

        def has_lease() -> bool:
            assert process.is_alive, process.log
            return Lease.objects.exclude(id__in=known).filter(revoked_at=None).exists()

        eventually(has_lease, timeout_s=20, every_s=0.05)
        return process

    def scheduler(self, *arguments: str, **environment: str) -> Process:
        return self.manage("rqscheduler", *arguments, **environment)

    def stop(self) -> None:
        for process in self.processes:
            process.destroy()
        start_broker()

    def _is_live(self, process: Process) -> bool:
        assert process.is_alive, process.log
        try:
            return self.call("GET", "/health/live").status == 200
        except OSError:
            return False

    # --- what it shows to the outside ------------------------------------------------------------------

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> http.Reply:
        options.setdefault("key", self.api_key)
        return http.call(self.url, method, path, body, **options)

    def ledger(self) -> list[list[str]]:
        """The effects that `echo` did, line by line, as words: job id, effect, attempt, time, key."""
        path = self.data_dir / "effects.log"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def outbox(self) -> list[str]:
        return [path.read_text() for path in sorted((self.data_dir / "outbox").glob("*.eml"))]

    # --- faults -------------------------------------------------------------------------------------------

    def kill_broker(self) -> None:
        """kill -9; its files stay."""
        pid = broker.pid(self.data_dir)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            eventually(lambda: not broker.is_running(self.data_dir))

    def remove_broker_files(self) -> None:
        """What a broker that is down has on its disk."""
        shutil.rmtree(broker.folder(self.data_dir))

    def start_broker(self) -> None:
        start_broker()


def start_broker() -> None:
    broker.start(sandbox.folder())


def wipe() -> None:
    """Redis, ledger and outbox as at the start; the database is pytest-django's."""
    from jobs import mirror, owner, queue

    start_broker()
    owner.note("")  # the next database is another one
    with redis.Redis.from_url(broker.url(sandbox.folder())) as connection:
        connection.flushall()
    queue._quiet_until = mirror._quiet_until = 0.0  # what a test did to Redis is over
    (sandbox.folder() / "effects.log").unlink(missing_ok=True)
    shutil.rmtree(sandbox.folder() / "outbox", ignore_errors=True)
