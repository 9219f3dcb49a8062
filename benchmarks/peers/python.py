"""What the peers in Python have in common: a worker started by a command, and a program that enqueues."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from subprocess import Popen

import redis

from benchmarks.peers.base import OWN_CONCURRENCY, OWN_SETTING, Api, Enqueues, Site, System
from benchmarks.python import HERE, command
from benchmarks.services import Processes, free_port, listens, output
from benchmarks.stores import Store

FILL_TIMEOUT_S = 120


@dataclass(frozen=True)
class PythonPeer(System):
    """`app` is its module in benchmarks/python, `worker` the command that its documentation names."""

    app: str
    worker: tuple[str, ...]
    pace: int
    left: Callable[[PythonSite], int]
    store: type[Store] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    set_up: tuple[str, ...] = ()
    is_usual: bool = False  # the setting to look at where speed does not count
    accepts: tuple[str, ...] = ()  # cases of accept: Django views stand in front of it

    def takes_part(self, measure: str, case: str) -> bool:
        match measure:
            case "drain":
                return case == OWN_SETTING
            case "accept":
                return case in self.accepts
            case "idle" | "recovery":
                return self.is_usual
        return False

    def site(self, processes: Processes) -> Site:
        return PythonSite(self, processes)


class PythonSite(Enqueues):
    def __init__(self, peer: PythonPeer, processes: Processes) -> None:
        super().__init__(processes)
        self._peer = peer
        self.paces = {OWN_CONCURRENCY: peer.pace}
        self.broker: redis.Redis = processes.broker()
        port = self.broker.connection_pool.connection_kwargs["port"]
        self._environment = {
            "PYTHONPATH": str(HERE),
            "DJANGO_SETTINGS_MODULE": "settings",
            "REDIS_URL": f"redis://127.0.0.1:{port}/0",
            "APP": peer.app,
            "STARTS": str(processes.folder / "starts"),
            **peer.environment,
        }
        if peer.store:
            self.store = peer.store(processes)
            self._environment["DATABASE_URL"] = self.store.url
        if peer.set_up:
            self._run(*peer.set_up)

    def start_api(self) -> Api:
        if not self._peer.accepts:
            return super().start_api()
        port = free_port()
        serve = [
            "granian",
            "--interface",
            "wsgi",
            "--port",
            str(port),
            "--workers",
            "1",
            "--blocking-threads",
            "1",
            "wsgi:application",
        ]
        process = self.processes.start("views", command(*serve), self._environment)
        self.processes.await_ready(process, lambda: listens(port))
        jobs = f"http://127.0.0.1:{port}/jobs"
        return Api(process, jobs, f"{jobs}/batch")

    def start_worker(self, concurrency: int) -> Popen[bytes]:
        return self.processes.start("worker", command(*self._peer.worker), self._environment)

    def remaining(self) -> int:
        return self._peer.left(self)

    def enqueue(self, jobs: int) -> None:
        self._run("python", str(HERE / "fill.py"), self._peer.app, str(jobs))

    def submit_long(self) -> None:
        self._run("python", str(HERE / "long.py"), self._peer.app)

    def long_starts(self) -> int:
        starts = self.processes.folder / "starts"
        return len(starts.read_text().splitlines()) if starts.exists() else 0

    def _run(self, *arguments: str) -> None:
        output(command(*arguments), self._environment, FILL_TIMEOUT_S)
