"""How many jobs that do nothing one worker process gets done a second."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

from benchmarks.load import fill
from benchmarks.measures.base import Case, Measure
from benchmarks.measures.stored import expect_stored
from benchmarks.peers.base import Site
from benchmarks.services import NotMeasured

JOBS = {1: 20_000, 10: 80_000, 50: 100_000}
QUICK_DIVISOR = 5
POLL_S = 0.1
LONG_ENOUGH_S = 5
TIMEOUT_S = 120
FIRST, LAST = 0.9, 0.1  # the shares that remain at the two moments


def _drained(site: Site, is_quick: bool, concurrency: int) -> float:
    divisor = QUICK_DIVISOR if is_quick else 1
    jobs = JOBS[concurrency] // divisor
    api = site.start_api()
    fill(api, jobs)
    site.processes.end(api.process)
    expect_stored(site, jobs)
    site.start_worker(concurrency)
    return steady_rate(site, jobs, LONG_ENOUGH_S / divisor)


def steady_rate(site: Site, jobs: int, seconds: float = LONG_ENOUGH_S) -> float:
    """Jobs a second from 90 % remaining on, until 10 % remain or so many seconds are over."""
    first = _first_below(site, jobs * FIRST)
    last = first
    while last.remaining > jobs * LAST and last.at < first.at + seconds:
        time.sleep(_pause(first, last, jobs * LAST, seconds))
        last = _look(site)
    if last.remaining == first.remaining:
        raise NotMeasured(f"{first.remaining} of {jobs} jobs remained, and none was done in {seconds} s")
    return (first.remaining - last.remaining) / (last.at - first.at)


@dataclass(frozen=True)
class _Look:
    at: float
    remaining: int


def _look(site: Site) -> _Look:
    return _Look(time.monotonic(), site.remaining())


def _first_below(site: Site, remaining: float) -> _Look:
    deadline = time.monotonic() + TIMEOUT_S
    while (look := _look(site)).remaining > remaining:
        if look.at > deadline:
            raise NotMeasured(f"{look.remaining} jobs were left after {TIMEOUT_S} s")
        time.sleep(POLL_S)
    return look


def _pause(first: _Look, last: _Look, target: float, seconds: float) -> float:
    """Half of what it takes by the rate so far: a look may count a table, and would slow what is measured."""
    left = first.at + seconds - last.at
    if last.remaining < first.remaining:
        left = min(left, (last.remaining - target) * (last.at - first.at) / (first.remaining - last.remaining) / 2)
    else:
        left = POLL_S
    return max(left, POLL_S)


DRAIN = Measure(
    title="Drain, one worker process, jobs that do nothing",
    unit="jobs/s",
    rule=(
        "Three short strings a job; counted in the data store from 90 % remaining on, so that start-up is left out, "
        f"until 10 % remain or {LONG_ENOUGH_S} s are over; no API runs."
    ),
    cases=tuple(Case(f"concurrency {number}", partial(_drained, concurrency=number)) for number in JOBS),
)
