"""Celery on Valkey: as it comes on two cores, and its fastest; without results, and with django-celery-results."""

from __future__ import annotations

from functools import partial

from benchmarks.peers.python import PythonPeer, PythonSite
from benchmarks.services import number
from benchmarks.stores import PostgresStore, SQLiteStore

MESSAGE = "message in Valkey until its task starts, so that a killed worker loses what it runs"
NO_RESULT = f"{MESSAGE}; no result, no database, up to a second lost with the broker"
ROW = f"{MESSAGE}; when it is done a row with its result in"
IN_SQLITE = f"{ROW} SQLite, synchronous=FULL"
IN_POSTGRES = f"{ROW} PostgreSQL, fsync and synchronous_commit on"


def _left(site: PythonSite) -> int:
    """Those that wait, and those that a worker has taken in advance."""
    return number(site.broker.llen("celery")) + number(site.broker.hlen("unacked"))


_WORKER = ("celery", "--app", "celery_app", "worker")
_AS_IT_COMES = (*_WORKER, "--loglevel", "INFO", "--concurrency", "2")
_QUIET = (*_WORKER, "--loglevel", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat")
_SOLO = (*_QUIET, "--pool", "solo")
_THREADS = (*_QUIET, "--pool", "threads", "--concurrency", "10")
_AHEAD = {"CELERY_PREFETCH": "64"}  # messages that a process takes in advance
_RESULTS = {"CELERY_RESULT_BACKEND": "django-db"}

_celery = partial(PythonPeer, product="celery", app="celery_app", left=_left)
_without_results = partial(_celery, persists=NO_RESULT, pace=1_500)
_with_results = partial(_celery, pace=500, set_up=("python", "-m", "django", "migrate", "-v", "0"))
_on_sqlite = partial(_with_results, persists=IN_SQLITE, store=SQLiteStore)
_on_postgres = partial(_with_results, persists=IN_POSTGRES, store=PostgresStore)

CELERY = (  # which has no call for a batch
    _without_results(setting="prefork 2", worker=_AS_IT_COMES, is_usual=True, accepts=("single",)),
    _without_results(setting="solo, no logs", worker=_SOLO, environment=_AHEAD),
    _on_sqlite(setting="prefork 2, results in SQLite", worker=_AS_IT_COMES, environment=_RESULTS),
    _on_sqlite(setting="solo, no logs, results in SQLite", worker=_SOLO, environment={**_RESULTS, **_AHEAD}),
    _on_postgres(setting="prefork 2, results in PostgreSQL", worker=_AS_IT_COMES, environment=_RESULTS),
    _on_postgres(
        setting="10 threads, no logs, results in PostgreSQL", worker=_THREADS, environment={**_RESULTS, **_AHEAD}
    ),
)
