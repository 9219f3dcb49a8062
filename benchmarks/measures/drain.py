"""How many jobs that do nothing one worker process gets done a second."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

from benchmarks.load import BATCH, fill
from benchmarks.measures.base import Case, Measure
from benchmarks.measures.stored import expect_stored
from benchmarks.peers.base import OWN_CONCURRENCY, OWN_SETTING, Enqueues, Site
from benchmarks.services import NotMeasured

CONCURRENCIES = (1, 10, 50)
SEVERAL = 2
QUICK_DIVISOR = 5
POLL_S = 0.1
LONG_ENOUGH_S = 4
PACED_S = 8  # of work that is stored, by what the system is known to do
WARM_UP_S = 3  # of work: processes start, and those that come when there is much to do have come
TIMEOUT_S = 120
FIRST, LAST = 0.5, 0.1  # the shares that remain at the two moments


def _drained(site: Site, is_quick: bool, concurrency: int, workers: int = 1) -> float:
    divisor = QUICK_DIVISOR if is_quick else 1
    jobs = site.paces[concurrency] * PACED_S // divisor // BATCH * BATCH
    _fill(site, jobs)
    expect_stored(site, jobs)
    for _ in range(workers):
        site.start_worker(concurrency)
    return steady_rate(site, jobs, LONG_ENOUGH_S / divisor)


def _fill(site: Site, jobs: int) -> None:
    if isinstance(site, Enqueues):
        site.enqueue(jobs)
        return
    api = site.start_api()
    fill(api, jobs)
    site.processes.end(api.process)


def steady_rate(site: Site, jobs: int, seconds: float = LONG_ENOUGH_S) -> float:
    """Jobs a second from three seconds of work on (or 50 % remaining), until 10 % remain or so many seconds are over."""
    first = _warm(site, jobs)
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


def _warm(site: Site, jobs: int) -> _Look:
    """The first look three seconds after the first job that was done, or at 50 % remaining."""
    deadline = time.monotonic() + TIMEOUT_S
    began: float | None = None
    while (look := _look(site)).remaining > jobs * FIRST:
        if look.remaining < jobs:
            began = began or look.at
        if look.at > (began + WARM_UP_S if began else deadline):
            break
        time.sleep(POLL_S)
    if look.remaining == jobs:
        raise NotMeasured(f"none of {jobs} jobs was done within {TIMEOUT_S} s")
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
        f"Three short strings a job; counted in the data store after {WARM_UP_S} s of work (or at 50 % remaining), so that "
        f"start-up is left out, until 10 % remain or {LONG_ENOUGH_S} s are over; no API runs. "
        f"{SEVERAL} workers: what both do together. Own setting: what the name of the system says."
    ),
    cases=(
        *(Case(f"concurrency {number}", partial(_drained, concurrency=number)) for number in CONCURRENCIES),
        Case(f"{SEVERAL} workers, concurrency 10", partial(_drained, concurrency=10, workers=SEVERAL)),
        Case(OWN_SETTING, partial(_drained, concurrency=OWN_CONCURRENCY)),
    ),
)
