"""How long a job waits whose worker was killed while it ran."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from subprocess import Popen

from benchmarks.calls import Poster
from benchmarks.family import family, kill
from benchmarks.measures.base import Beyond, Case, Measure
from benchmarks.measures.ready import start_own_worker, start_ready_worker
from benchmarks.peers.base import OWN_CONCURRENCY, Enqueues, Site
from benchmarks.waiting import POLL_S, until

BOUND_S = 90
QUICK_BOUND_S = 10
SLEEP_S = 600
STAND_BY_S = 5
KEY = "victim"

Starts = Callable[[], int]


def _recovered(site: Site, is_quick: bool) -> float:
    bound_s = QUICK_BOUND_S if is_quick else BOUND_S
    victim, starts = _enqueued(site) if isinstance(site, Enqueues) else _posted(site)
    began = time.monotonic()
    kill(family(victim.pid))
    while starts() < 2:
        if time.monotonic() > began + bound_s:
            raise Beyond(f"> {bound_s} s")
        time.sleep(POLL_S)
    return time.monotonic() - began


def _posted(site: Site) -> tuple[Popen[bytes], Starts]:
    """The worker that runs the job, another being ready; and what counts the job's starts."""
    api = site.start_api()
    victim = start_ready_worker(site, api, concurrency=1)
    with closing(Poster(api)) as poster:
        poster.post(KEY, {"sleepSeconds": SLEEP_S})
    _await_start(lambda: site.starts(KEY))
    start_ready_worker(site, api, concurrency=1)  # the first one is busy: it was this that ran a job
    return victim, lambda: site.starts(KEY)


def _enqueued(site: Enqueues) -> tuple[Popen[bytes], Starts]:
    """The same of a system without an API. Which worker runs what cannot be chosen, so the second is given its time."""
    victim = start_own_worker(site)
    site.submit_long()
    _await_start(site.long_starts)
    site.start_worker(OWN_CONCURRENCY)
    time.sleep(STAND_BY_S)
    return victim, site.long_starts


def _await_start(starts: Starts) -> None:
    until(starts, lambda seen: seen == 1, "the job to start")


RECOVERY = Measure(
    title="Until a job runs again whose worker was killed",
    unit="s",
    rule=(
        "A job sleeps in its handler, another worker stands by; kill -9 of all processes of the worker that runs it, "
        f"until the job's second start. Nobody waits longer than {BOUND_S} s. Measured once."
    ),
    cases=(Case("kill -9", _recovered),),
    most_rounds=1,
)
