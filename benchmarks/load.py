"""Load over HTTP, made by autocannon in a process of its own."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass

from benchmarks.node import command
from benchmarks.peers.base import Api
from benchmarks.services import NotMeasured

CONNECTIONS = 32
BATCH = 100
FILL_CONNECTIONS = 4
GRACE_S = 60


@dataclass(frozen=True)
class Answered:
    seconds: float
    requests: int

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def post_for(api: Api, seconds: int, batch: int = 0) -> Answered:
    """Post single jobs (or batches) for so long on 32 connections."""
    plan = {"connections": CONNECTIONS, "seconds": seconds}
    return _run(api, plan, batch, seconds + GRACE_S)


def fill(api: Api, jobs: int) -> None:
    """Post so many jobs in batches."""
    _run(api, {"connections": FILL_CONNECTIONS, "requests": jobs // BATCH}, BATCH, 3 * GRACE_S)


def _run(api: Api, plan: dict[str, int], batch: int, timeout_s: float) -> Answered:
    where = {"url": api.batch_url if batch else api.create_url, "headers": dict(api.headers), "batch": batch}
    try:
        done = subprocess.run(
            [*command("load.mjs"), json.dumps({**plan, **where})],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        raise NotMeasured(f"did not answer the load within {timeout_s:.0f} s") from None
    if done.returncode != 0:
        raise NotMeasured(f"the load failed: {done.stderr.strip()[-300:]}")
    result = json.loads(done.stdout)
    if result["refused"]:
        raise NotMeasured(f"refused {result['refused']} of {result['answered'] + result['refused']} requests")
    return Answered(result["seconds"], result["answered"])
