"""How long it takes from sending a job to its handler's start, when there is little to do."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from benchmarks.calls import Poster
from benchmarks.measures.base import Cases, Measure
from benchmarks.measures.ready import start_ready_worker
from benchmarks.peers.base import Api, Site
from benchmarks.waiting import until

RATE = 50
SECONDS = 20
QUICK_SECONDS = 6
CONCURRENCY = 10
SENDERS = 16  # so many may wait for their answers while the next is sent on time
WARM_UP = 50
PERCENTILES = (50, 95, 99, 100)


def _latencies(site: Site, is_quick: bool) -> Sequence[float]:
    api = site.start_api()
    start_ready_worker(site, api, CONCURRENCY)
    _send(api, "warm", WARM_UP)
    jobs = RATE * (QUICK_SECONDS if is_quick else SECONDS)
    sent = _send(api, "sent", jobs)
    started = until(lambda: site.started_at("sent"), lambda found: len(found) == jobs, f"{jobs} jobs to start")
    waits = sorted((started[key] - at) * 1000 for key, at in sent.items())
    return [waits[math.ceil(percent / 100 * jobs) - 1] for percent in PERCENTILES]


def _send(api: Api, prefix: str, jobs: int) -> dict[str, float]:
    """Post at an even pace, whatever the answers take; when each was sent, by its key."""
    sent: dict[str, float] = {}

    def post(number: int) -> None:
        key = f"{prefix}-{number}"
        sent[key] = time.time()
        poster.post(key, {"value": ["one", "two", "three"]})

    with closing(Poster(api)) as poster:
        began = time.monotonic()
        with ThreadPoolExecutor(SENDERS) as senders:
            answers = []
            for number in range(jobs):
                time.sleep(max(0.0, began + number / RATE - time.monotonic()))
                answers.append(senders.submit(post, number))
        for answer in answers:
            answer.result()
    return sent


LATENCY = Measure(
    title=f"From sending a job to its handler's start, {RATE} jobs a second",
    unit="ms",
    rule=(
        f"One API and one worker process (concurrency {CONCURRENCY}); evenly spaced for {SECONDS} s, whatever the "
        "answers take. From just before the client sends its request to the start that the system records "
        "(`started_at`; BullMQ's `processedOn`, in whole milliseconds), by the same clock."
    ),
    cases=(Cases(("p50", "p95", "p99", "max"), _latencies),),
)
