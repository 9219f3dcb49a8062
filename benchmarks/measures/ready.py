"""A worker that is known to run jobs."""

from __future__ import annotations

from contextlib import closing
from subprocess import Popen

from benchmarks.calls import Poster
from benchmarks.peers.base import OWN_CONCURRENCY, Api, Enqueues, Site
from benchmarks.waiting import until


def start_ready_worker(site: Site, api: Api, concurrency: int) -> Popen[bytes]:
    """Start a worker and wait until a job that does nothing is done."""
    before = site.done()
    process = site.start_worker(concurrency)
    with closing(Poster(api)) as poster:
        poster.post(f"ready-{process.pid}", {})
    until(site.done, lambda done: done > before, "a first job to be done")
    return process


def start_own_worker(site: Enqueues) -> Popen[bytes]:
    """The same of a system without an API."""
    site.enqueue(1)
    process = site.start_worker(OWN_CONCURRENCY)
    until(site.remaining, lambda remaining: remaining == 0, "a first job to be done")
    return process
