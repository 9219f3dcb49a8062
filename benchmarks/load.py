"""Load over HTTP, made by autocannon in a process of its own."""

from __future__ import annotations

import json
import math
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.node import command
from benchmarks.peers.base import Api
from benchmarks.services import NotMeasured, Processes, free_port, listens

CONNECTIONS = 32
BATCH = 100
FILL_CONNECTIONS = 4
GRACE_S = 60
LIMIT_S = 3


@dataclass(frozen=True)
class Answered:
    seconds: float
    requests: int

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def post_for(api: Api, seconds: int, batch: int = 0) -> Answered:
    """Post single jobs (or batches) for so long on 32 connections."""
    return _run(api, {**_posts(api, batch), "connections": CONNECTIONS, "seconds": seconds}, seconds + GRACE_S)


def fill(api: Api, jobs: int) -> None:
    """Post so many jobs, in whole batches."""
    batches = math.ceil(jobs / BATCH)
    plan = {"connections": min(FILL_CONNECTIONS, batches), "requests": batches}
    _run(api, {**_posts(api, BATCH), **plan}, 3 * GRACE_S)


def poll_for(api: Api, ids: Sequence[str], seconds: int, *, is_conditional: bool = False) -> Answered:
    """Ask for the status of one after the other, for so long on 32 connections; conditional: each by the ETag it had."""
    plan = {"urls": _status_urls(api, ids), "isConditional": is_conditional, "seconds": seconds}
    return _run(api, {**plan, "connections": CONNECTIONS}, seconds + GRACE_S)


def poll_each(api: Api, ids: Sequence[str]) -> Answered:
    """Ask for the status of each once, on 32 connections."""
    plan = {"urls": _status_urls(api, ids), "requests": len(ids), "connections": CONNECTIONS}
    return _run(api, plan, 3 * GRACE_S)


def limit() -> float:
    """Requests a second that the load itself reaches, against a server that only answers."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, Processes(Path(folder)) as processes:
        port = free_port()
        process = processes.start("constant", command("constant.mjs"), {"PORT": str(port)})
        processes.await_ready(process, lambda: listens(port))
        url = f"http://127.0.0.1:{port}/"
        return post_for(Api(process, url, url), LIMIT_S).per_second


def _posts(api: Api, batch: int) -> dict[str, Any]:
    return {"url": api.batch_url if batch else api.create_url, "batch": batch}


def _status_urls(api: Api, ids: Sequence[str]) -> list[str]:
    return [api.status_url.format(id=job_id) for job_id in ids]


def _run(api: Api, plan: dict[str, Any], timeout_s: float) -> Answered:
    try:
        done = subprocess.run(
            command("load.mjs"),
            input=json.dumps({**plan, "headers": dict(api.headers)}),
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
