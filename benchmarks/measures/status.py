"""How many times a second one API process says where a job stands."""

from __future__ import annotations

from functools import partial

from benchmarks.load import fill, poll_for
from benchmarks.measures.base import Case, Measure
from benchmarks.measures.waiting import until
from benchmarks.peers.base import Site

JOBS = 2_000
CONCURRENCY = 50
WARM_UP_S = 1
SECONDS = 8
QUICK_SECONDS = 3


def _polled(site: Site, is_quick: bool, is_conditional: bool) -> float:
    api = site.start_api()
    fill(api, JOBS)
    worker = site.start_worker(CONCURRENCY)
    ids = until(lambda: site.done_ids(JOBS), lambda found: len(found) == JOBS, f"{JOBS} jobs that are done")
    site.processes.end(worker)
    poll_for(api, ids, WARM_UP_S, is_conditional=is_conditional)
    return poll_for(api, ids, QUICK_SECONDS if is_quick else SECONDS, is_conditional=is_conditional).per_second


STATUS = Measure(
    title="Status over HTTP, one process",
    unit="answers/s",
    rule=(
        f"32 keep-alive connections ask for {JOBS:,} jobs in turn, all of them done a moment ago. Ours answers from "
        "the mirror: each job was seen there as succeeded, which is believed without a look into the database; "
        "BullMQ by `queue.getJob` and `getState`. 304: each request carries the `ETag` of the answer before "
        "(Express makes one by itself)."
    ),
    cases=(
        Case("whole answer", partial(_polled, is_conditional=False)),
        Case("unchanged (304)", partial(_polled, is_conditional=True)),
    ),
)
