"""Express in front of BullMQ: its usual setting keeps completed jobs, its fastest one drops them."""

from __future__ import annotations

from dataclasses import dataclass
from subprocess import Popen
from typing import Any

from benchmarks.node import command
from benchmarks.peers.base import Api, Site, System
from benchmarks.services import Processes, free_port, listens


@dataclass(frozen=True)
class BullMQ(System):
    product: str = "bullmq"
    setting: str = "completed jobs kept"
    persists: str = "job and result in Valkey; no database, up to a second lost with the broker"
    keeps_completed: bool = True

    def takes_part(self, measure: str, case: str) -> bool:
        return self.keeps_completed or measure in ("accept", "drain", "pipeline")

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
        return Api(process, jobs, f"{jobs}/batch", status_url=f"{jobs}/{{id}}")

    def start_worker(self, concurrency: int) -> Popen[bytes]:
        environment = {**self._environment, "CONCURRENCY": str(concurrency)}
        return self.processes.start("worker", command("worker.mjs"), environment)

    def remaining(self) -> int:
        return sum(int(self._broker.llen(f"bull:bench:{state}")) for state in ("wait", "active"))

    def done(self) -> int:
        """Every add raises the queue's counter, also where the job has an id of its own."""
        return int(self._broker.get("bull:bench:id") or 0) - self.remaining()

    def done_ids(self, most: int) -> list[str]:
        ids: Any = self._broker.zrevrange("bull:bench:completed", 0, most - 1)
        return [job_id.decode() for job_id in ids]
