"""How many times a second one API process says where a job stands."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.load import fill, poll_for
from benchmarks.measures.base import Cases, Measure
from benchmarks.peers.base import Site
from benchmarks.waiting import until

JOBS = 2_000
CONCURRENCY = 50
WARM_UP_S = 1
SECONDS = 5
QUICK_SECONDS = 3


def _polled(site: Site, is_quick: bool) -> Sequence[float]:
    api = site.start_api()
    fill(api, JOBS)
    worker = site.start_worker(CONCURRENCY)
    ids = until(lambda: site.done_ids(JOBS), lambda found: len(found) == JOBS, f"{JOBS} jobs that are done")
    site.processes.end(worker)
    seconds = QUICK_SECONDS if is_quick else SECONDS
    poll_for(api, ids, WARM_UP_S)
    return [poll_for(api, ids, seconds, is_conditional=wanted).per_second for wanted in (False, True)]


STATUS = Measure(
    title="Status over HTTP, one process",
    unit="answers/s",
    rule=(
        f"32 keep-alive connections ask for {JOBS:,} jobs in turn, all of them done a moment ago. Ours answers from "
        "the mirror: each job was seen there as succeeded, which is believed without a look into the database; "
        "BullMQ by `queue.getJob` and `getState`. 304: each request carries the `ETag` of the answer before "
        "(Express makes one by itself)."
    ),
    cases=(Cases(("whole answer", "unchanged (304)"), _polled),),
)
