"""How long a job waits whose worker was killed while it ran."""

from __future__ import annotations

import time

from benchmarks.calls import Poster
from benchmarks.family import family, kill
from benchmarks.measures.base import Beyond, Case, Measure
from benchmarks.measures.ready import start_ready_worker
from benchmarks.measures.waiting import POLL_S, until
from benchmarks.peers.base import Site

BOUND_S = 90
SLEEP_S = 600
KEY = "victim"


def _recovered(site: Site, is_quick: bool) -> float:
    api = site.start_api()
    victim = start_ready_worker(site, api, concurrency=1)
    Poster(api).post(KEY, {"sleepSeconds": SLEEP_S})
    until(lambda: site.starts(KEY), lambda starts: starts == 1, "the job to start")
    start_ready_worker(site, api, concurrency=1)  # the first one is busy: it was this that ran a job
    began = time.monotonic()
    kill(family(victim.pid))
    while site.starts(KEY) < 2:
        if time.monotonic() > began + BOUND_S:
            raise Beyond(f"> {BOUND_S} s")
        time.sleep(POLL_S)
    return time.monotonic() - began


RECOVERY = Measure(
    title="Until a job runs again whose worker was killed",
    unit="s",
    rule=(
        "A job sleeps in its handler, another worker stands by; kill -9 of all processes of the worker that runs it, "
        f"until the data store counts a second start. Nobody waits longer than {BOUND_S} s."
    ),
    cases=(Case("kill -9", _recovered),),
)
