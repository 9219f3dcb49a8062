"""A figure counts only if the jobs behind it are there: an answer to a batch may refuse each of its jobs."""

from __future__ import annotations

from benchmarks.peers.base import Site
from benchmarks.services import NotMeasured


def expect_stored(site: Site, jobs: int) -> None:
    if jobs == 0:
        raise NotMeasured("nothing was answered in the time there was")
    stored = site.remaining()
    if stored < jobs:
        raise NotMeasured(f"{jobs} jobs were posted and {stored} stored")
