"""Express in front of BullMQ: its usual setting keeps completed jobs, its fastest one drops them."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.node import command
from benchmarks.peers.base import Api, Site, System
from benchmarks.services import Processes, free_port, listens


@dataclass(frozen=True)
class BullMQ(System):
    product: str = "bullmq"
    setting: str = "completed jobs kept"
    persists: str = "job and result in Valkey; no database, up to a second lost with the broker"
    keeps_completed: bool = True

    def site(self, processes: Processes) -> Site:
        return BullMQSite(processes, keeps_completed=self.keeps_completed)


class BullMQSite(Site):
    def __init__(self, processes: Processes, *, keeps_completed: bool) -> None:
        super().__init__(processes)
        self._broker = processes.broker()
        port = self._broker.connection_pool.connection_kwargs["port"]
        self._environment = {"REDIS_PORT": str(port), "KEEP": str(int(keeps_completed)), "NODE_ENV": "production"}

    def start_api(self) -> Api:
        port = free_port()
        process = self.processes.start("express", command("api.mjs"), {**self._environment, "PORT": str(port)})
        self.processes.await_ready(process, lambda: listens(port))
        jobs = f"http://127.0.0.1:{port}/jobs"
        return Api(process, jobs, f"{jobs}/batch")

    def start_worker(self, concurrency: int) -> None:
        self.processes.start("worker", command("worker.mjs"), {**self._environment, "CONCURRENCY": str(concurrency)})

    def remaining(self) -> int:
        return sum(int(self._broker.llen(f"bull:bench:{state}")) for state in ("wait", "active"))
