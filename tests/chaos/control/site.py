"""The system of the control run: RQ's workers and rq-scheduler's schedulers as processes, and the same broker."""

from __future__ import annotations

import contextlib
import os
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import redis
from rq import Queue
from rq_scheduler import Scheduler

from jobsite import broker
from tests.chaos import site
from tests.chaos.control import tasks
from tests.chaos.faults import WORKERS
from tests.chaos.proxy import Proxy
from tests.support.eventually import eventually

HANDS = 12
"""Workers. RQ's do one job at a time; ours are two that do six."""

SCHEDULES = [f"minute-{number}" for number in range(10)]
EVERY_S = 60
"""The shortest that cron text can say, and rq-scheduler's default pause between two looks."""

SCHEDULED = "rq:scheduler:scheduled_jobs"
FAILED = "rq:failed:default"
UNFINISHED = ("rq:queue:default", "rq:queue:default:intermediate", "rq:wip:default")


class ControlSite(site.Site):
    """Roles: first, second and hand-3 to hand-12 (workers), ticker-1 and ticker-2 (schedulers). `second` and the clients
    reach the broker through proxies."""

    program = [sys.executable]
    has_replica = False

    def __init__(self, lease_s: float, hands: int = HANDS, schedules: Sequence[str] = SCHEDULES) -> None:
        self._hands, self.schedules = hands, schedules
        self.scheduled_at = time.time()
        super().__init__("sqlite", lease_s)
        self.api_proxy = Proxy(broker.socket_path(self.folder))

    def _prepare(self) -> None:
        """Schedules are registered once, as rq-scheduler's README does it; nobody registers them again."""
        with self.redis() as connection:
            for name in self.schedules:
                Scheduler(connection=connection).cron("* * * * *", tasks.slot, args=[name])
        self.scheduled_at = time.time()

    def _roles(self) -> dict[str, tuple[list[str], dict[str, str]]]:
        straight = broker.url(self.folder)
        urls = dict.fromkeys([*WORKERS, *(f"hand-{n}" for n in range(3, self._hands + 1))], straight)
        urls["second"] = f"redis://127.0.0.1:{self.broker_proxy.port}/0"
        workers = {role: (_command("rq", "worker", "--url", url), {}) for role, url in urls.items()}
        return workers | {role: (_command("rqscheduler", "--url", straight), {}) for role in ("ticker-1", "ticker-2")}

    def is_live(self) -> bool:
        with contextlib.suppress(redis.RedisError), self.redis() as connection:
            return bool(connection.scard("rq:workers") >= self._hands)
        return False

    def horse(self, role: str) -> int | None:
        return next(iter(children(self.processes[role].pid)), None)

    def client(self) -> Any:
        """As anybody connects: with redis-py's defaults."""
        assert self.api_proxy is not None
        return redis.Redis.from_url(f"redis://127.0.0.1:{self.api_proxy.port}/0")

    def probe(self) -> tuple[Queue, Any]:
        connection = self.redis()
        return Queue(connection=connection), connection

    def drain(self, patience_s: float) -> float:
        """Wait until nothing is left that would still run or be told as failed, and give the seconds that it took.

        RQ looks for abandoned jobs when a worker starts, and every ten minutes. So that this is within reach a fresh
        worker is started every 20 s, and ends when the queue is empty.
        """
        began, until = time.monotonic(), time.time()
        while time.monotonic() < began + patience_s:
            self.ensure()
            self._clean_up()
            with contextlib.suppress(AssertionError):
                eventually(lambda: self._is_settled(until) and self._is_settled(until), timeout_s=20, every_s=1)
                break
        return time.monotonic() - began

    def _clean_up(self) -> None:
        role = "cleaner"
        self.roles[role] = (_command("rq", "worker", "--burst", "--url", broker.url(self.folder)), {})
        self.start(role).wait(60)
        del self.processes[role], self.roles[role]

    def _is_settled(self, until: float) -> bool:
        """`until`: what was due by then must have been put into its queue."""
        with contextlib.suppress(redis.RedisError), self.redis() as connection:
            left = any(connection.exists(key) for key in UNFINISHED) or connection.zcount(SCHEDULED, 0, until)
            return not left and not any(children(process.pid) for process in self.processes.values())
        return False

    def close(self, *, is_kept: bool = False) -> None:
        """RQ's horses outlive their workers, and are in no group of theirs."""
        mine = [process for process in psutil.process_iter() if process.pid != os.getpid() and self._is_mine(process)]
        self.is_closing = True
        for process in mine:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        super().close(is_kept=is_kept)

    def _is_mine(self, process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error):
            command = process.cmdline()
            is_rq = len(command) > 1 and Path(command[1]).name in ("rq", "rqscheduler")
            return is_rq and process.environ().get("JOBS_DATA_DIR") == str(self.folder)
        return False


def children(pid: int) -> list[int]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return sorted(child.pid for child in psutil.Process(pid).children())
    return []


def _command(name: str, *arguments: str) -> list[str]:
    return [str(Path(sysconfig.get_path("scripts"), name)), *arguments]
