"""How many jobs a second go all the way: posted over HTTP, run, recorded as done."""

from __future__ import annotations

import threading
import time

from benchmarks.load import Answered, post_for
from benchmarks.measures.base import Case, Measure
from benchmarks.measures.ready import start_ready_worker
from benchmarks.peers.base import Api, Site
from benchmarks.services import NotMeasured

CONCURRENCY = 50
LEAD_S = 2
STEADY_S = 6
QUICK_STEADY_S = 3
TRAIL_S = 1


def _through(site: Site, is_quick: bool) -> float:
    steady_s = QUICK_STEADY_S if is_quick else STEADY_S
    api = site.start_api()
    start_ready_worker(site, api, CONCURRENCY)
    load = _Load(api, LEAD_S + steady_s + TRAIL_S)
    time.sleep(LEAD_S)
    began, done = time.monotonic(), site.done()
    time.sleep(steady_s)
    rate = (site.done() - done) / (time.monotonic() - began)
    load.finish()
    return rate


class _Load:
    """Posts while the caller counts."""

    def __init__(self, api: Api, seconds: int) -> None:
        self._outcome: Answered | NotMeasured | None = None
        self._thread = threading.Thread(target=self._post, args=(api, seconds))
        self._thread.start()

    def finish(self) -> Answered:
        self._thread.join()
        if isinstance(self._outcome, NotMeasured):
            raise self._outcome
        assert self._outcome is not None
        return self._outcome

    def _post(self, api: Api, seconds: int) -> None:
        try:
            self._outcome = post_for(api, seconds)
        except NotMeasured as error:
            self._outcome = error


PIPELINE = Measure(
    title="From HTTP to done, one API and one worker process",
    unit="jobs/s",
    rule=(
        f"32 keep-alive connections post single jobs that do nothing, a worker of concurrency {CONCURRENCY} runs them; "
        f"jobs that got done in the {STEADY_S} s that begin {LEAD_S} s after the load, which goes on until after them."
    ),
    cases=(Case(f"concurrency {CONCURRENCY}", _through),),
)
