"""Express in front of BullMQ: its usual setting keeps completed jobs, its fastest one drops them."""

from __future__ import annotations

from dataclasses import dataclass
from subprocess import Popen
from typing import Any, cast

from benchmarks.node import command
from benchmarks.peers.base import OWN_SETTING, Api, Site, System
from benchmarks.services import Processes, free_port, listens

USUAL = ("accept", "drain", "status", "pipeline", "latency", "idle", "recovery")
FASTEST = (("accept", "single"), ("drain", "concurrency 10"), ("drain", "concurrency 50"))


@dataclass(frozen=True)
class BullMQ(System):
    product: str = "bullmq"
    setting: str = "completed jobs kept"
    persists: str = "job and result in Valkey; no database, up to a second lost with the broker"
    keeps_completed: bool = True

    def takes_part(self, measure: str, case: str) -> bool:
        """What was dropped cannot be asked for any more, and is there for its speed alone."""
        if self.keeps_completed:
            return measure in USUAL and case != OWN_SETTING
        return (measure, case) in FASTEST or measure == "pipeline"

    def site(self, processes: Processes) -> Site:
        return ValkeySite(processes, keeps_completed=self.keeps_completed)


class BullMQSite(Site):
    """Its two programs, which are the same wherever the jobs are kept."""

    def __init__(self, processes: Processes, where: dict[str, str], *, keeps_completed: bool) -> None:
        super().__init__(processes)
        self._environment = {**where, "KEEP": str(int(keeps_completed)), "NODE_ENV": "production"}

    def start_api(self) -> Api:
        port = free_port()
        process = self.processes.start("express", command("api.mjs"), {**self._environment, "PORT": str(port)})
        self.processes.await_ready(process, lambda: listens(port))
        jobs = f"http://127.0.0.1:{port}/jobs"
        return Api(process, jobs, f"{jobs}/batch", status_url=f"{jobs}/{{id}}")

    def start_worker(self, concurrency: int) -> Popen[bytes]:
        environment = {**self._environment, "CONCURRENCY": str(concurrency)}
        return self.processes.start("worker", command("worker.mjs"), environment)


class ValkeySite(BullMQSite):
    paces = {1: 4_500, 10: 16_000, 50: 20_000}

    def __init__(self, processes: Processes, *, keeps_completed: bool) -> None:
        self._broker = processes.broker()
        port = self._broker.connection_pool.connection_kwargs["port"]
        super().__init__(processes, {"REDIS_PORT": str(port)}, keeps_completed=keeps_completed)

    def remaining(self) -> int:
        return sum(int(self._broker.llen(f"bull:bench:{state}")) for state in ("wait", "active"))

    def done(self) -> int:
        """Every add raises the queue's counter, also where the job has an id of its own."""
        return int(self._broker.get("bull:bench:id") or 0) - self.remaining()

    def done_ids(self, most: int) -> list[str]:
        ids: Any = self._broker.zrevrange("bull:bench:completed", 0, most - 1)
        return [job_id.decode() for job_id in ids]

    def started_at(self, prefix: str) -> dict[str, float]:
        names = [name.decode() for name in self._broker.scan_iter(f"bull:bench:{prefix}-*", count=1000)]
        started: Any = [self._broker.hget(name, "processedOn") for name in names]
        return {
            name.removeprefix("bull:bench:"): int(at) / 1000
            for name, at in zip(names, started, strict=True)
            if at is not None
        }

    def starts(self, key: str) -> int:
        return int(cast(Any, self._broker.hget(f"bull:bench:{key}", "ats")) or 0)
