"""How many jobs a second one API process accepts over HTTP."""

from __future__ import annotations

from benchmarks.load import BATCH, post_for
from benchmarks.measures.base import Case, Measure
from benchmarks.measures.stored import expect_stored
from benchmarks.peers.base import Site

WARM_UP_S = 1
SECONDS = 5
QUICK_SECONDS = 2


def _single(site: Site, is_quick: bool) -> float:
    return _accepted(site, is_quick, batch=0)


def _batch(site: Site, is_quick: bool) -> float:
    return _accepted(site, is_quick, batch=BATCH) * BATCH


def _accepted(site: Site, is_quick: bool, batch: int) -> float:
    api = site.start_api()
    post_for(api, WARM_UP_S, batch)
    answered = post_for(api, QUICK_SECONDS if is_quick else SECONDS, batch)
    expect_stored(site, answered.requests * (batch or 1))
    return answered.per_second


ACCEPT = Measure(
    title="Accept over HTTP, one process",
    unit="jobs/s",
    rule="32 keep-alive connections, an idempotency key (or jobId) a job, after a second of warming up; no worker runs.",
    cases=(Case("single", _single), Case("batch of 100", _batch)),
)
