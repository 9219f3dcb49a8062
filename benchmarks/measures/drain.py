"""How many jobs that do nothing one worker process gets done a second."""

from __future__ import annotations

import time
from functools import partial

from benchmarks.load import fill
from benchmarks.measures.base import Case, Measure
from benchmarks.measures.stored import expect_stored
from benchmarks.peers.base import Site
from benchmarks.services import NotMeasured

JOBS = {1: 20_000, 10: 100_000, 50: 150_000}
QUICK_DIVISOR = 5
POLL_S = 0.1
TIMEOUT_S = 120
FIRST, LAST = 0.9, 0.1  # the shares that remain at the two moments


def _drained(site: Site, is_quick: bool, concurrency: int) -> float:
    jobs = JOBS[concurrency] // (QUICK_DIVISOR if is_quick else 1)
    api = site.start_api()
    fill(api, jobs)
    site.processes.end(api.process)
    expect_stored(site, jobs)
    site.start_worker(concurrency)
    return steady_rate(site, jobs)


def steady_rate(site: Site, jobs: int) -> float:
    """Jobs a second between the first sample below 90 % remaining and the first below 10 %."""
    deadline = time.monotonic() + TIMEOUT_S
    began = _await_share(site, jobs, FIRST, deadline)
    ended = _await_share(site, jobs, LAST, deadline)
    if ended[0] == began[0]:
        raise NotMeasured(f"{jobs} jobs were too few to measure")
    return (began[1] - ended[1]) / (ended[0] - began[0])


def _await_share(site: Site, jobs: int, share: float, deadline: float) -> tuple[float, int]:
    while True:
        remaining, now = site.remaining(), time.monotonic()
        if remaining <= jobs * share:
            return now, remaining
        if now > deadline:
            raise NotMeasured(f"{remaining} of {jobs} jobs were left after {TIMEOUT_S} s")
        time.sleep(POLL_S)


DRAIN = Measure(
    title="Drain, one worker process, jobs that do nothing",
    unit="jobs/s",
    rule="Three short strings a job; counted in the data store between 90 % and 10 % remaining, so start-up is left out; no API runs.",
    cases=tuple(Case(f"concurrency {number}", partial(_drained, concurrency=number)) for number in JOBS),
)
