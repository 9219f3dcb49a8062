"""What a worker takes that has nothing to do."""

from __future__ import annotations

import time
from collections.abc import Sequence
from subprocess import Popen

from benchmarks.family import family, memory_mb, processor_s
from benchmarks.measures.base import Cases, Measure
from benchmarks.measures.ready import start_own_worker, start_ready_worker
from benchmarks.peers.base import Enqueues, Site

CONCURRENCY = 10
SETTLE_S = 5
SECONDS = 30
QUICK_SECONDS = 10


def _taken(site: Site, is_quick: bool) -> Sequence[float]:
    seconds = QUICK_SECONDS if is_quick else SECONDS
    worker = _ready_worker(site)
    time.sleep(SETTLE_S)
    pids = family(worker.pid)
    began, used = time.monotonic(), processor_s(pids)
    time.sleep(seconds)
    percent = (processor_s(pids) - used) / (time.monotonic() - began) * 100
    return memory_mb(pids), percent


def _ready_worker(site: Site) -> Popen[bytes]:
    if isinstance(site, Enqueues):
        return start_own_worker(site)
    api = site.start_api()
    worker = start_ready_worker(site, api, CONCURRENCY)
    site.processes.end(api.process)
    return worker


IDLE = Measure(
    title="An idle worker",
    unit="MB; % of a core",
    rule=(
        f"Concurrency {CONCURRENCY} (or its own setting), {SETTLE_S} s after its first job; all processes of the worker: proportional set "
        f"size (what several share counts once), and processor time over {SECONDS} s. No API runs. Measured once."
    ),
    cases=(Cases(("memory", "processor"), _taken),),
    most_rounds=1,
)
