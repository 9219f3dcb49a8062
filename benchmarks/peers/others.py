"""Dramatiq, Huey and procrastinate, each as it comes and at its fastest."""

from __future__ import annotations

from functools import partial

from benchmarks.peers.python import PythonPeer, PythonSite
from benchmarks.services import number
from benchmarks.stores import PostgresStore


def _left_by_dramatiq(site: PythonSite) -> int:
    """A message leaves its hash when its actor is done."""
    return number(site.broker.hlen("dramatiq:default.msgs"))


def _left_by_huey(site: PythonSite) -> int:
    return number(site.broker.llen("huey.redis.bench"))


def _left_by_procrastinate(site: PythonSite) -> int:
    return site.store.number("SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')")


_dramatiq = partial(
    PythonPeer,
    product="dramatiq",
    app="dramatiq_app",
    left=_left_by_dramatiq,
    persists="message in Valkey until its actor is done; no result, no database, up to a second lost with the broker",
)
_DRAMATIQ = ("dramatiq", "dramatiq_app", "--processes", "2", "--threads", "8")
_huey = partial(PythonPeer, product="huey", app="huey_app", left=_left_by_huey)
_HUEY = ("huey_consumer", "huey_app.huey")
_PROCRASTINATE = ("procrastinate", "--app", "procrastinate_app.app")
_procrastinate = partial(
    PythonPeer,
    product="procrastinate",
    app="procrastinate_app",
    left=_left_by_procrastinate,
    store=PostgresStore,
    set_up=(*_PROCRASTINATE, "schema", "--apply"),
)

OTHERS = (
    _dramatiq(setting="2 processes of 8 threads", worker=_DRAMATIQ, pace=4_000, is_usual=True),
    _dramatiq(
        setting="2 processes of 8 threads, 1,000 taken ahead",
        worker=_DRAMATIQ,
        environment={"dramatiq_queue_prefetch": "1000"},
        pace=8_000,
    ),
    _huey(
        setting="1 thread",
        persists="message in Valkey until its task starts, its result until it is read; a killed worker loses what it runs",
        environment={"KEEP": "1"},
        worker=_HUEY,
        pace=1_500,
        is_usual=True,
    ),
    _huey(
        setting="2 processes, no logs, no results",
        persists="message in Valkey until its task starts, so that a killed worker loses what it runs; no result",
        environment={"KEEP": "0"},
        worker=(*_HUEY, "--workers", "2", "--worker-type", "process", "--quiet"),
        pace=4_000,
    ),
    _procrastinate(
        setting="concurrency 1",
        persists="job and an event for each step in PostgreSQL, fsync and synchronous_commit on",
        worker=(*_PROCRASTINATE, "worker"),
        pace=200,
        is_usual=True,
    ),
    _procrastinate(
        setting="concurrency 50, no logs, done jobs deleted",
        persists="job in PostgreSQL until it is done, fsync and synchronous_commit on",
        worker=(*_PROCRASTINATE, "--log-level", "warning", "worker", "--concurrency", "50", "--delete-jobs", "always"),
        pace=300,
    ),
)
