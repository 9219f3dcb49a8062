"""Celery: two processes as it comes on two cores, and the fastest that one process does; without results, and with."""

from __future__ import annotations

from functools import partial

from benchmarks.peers.python import PythonPeer, PythonSite
from benchmarks.services import number
from benchmarks.stores import PostgresStore, SQLiteStore

MESSAGE = "message in Valkey until its task starts: a killed worker loses what it runs"


def _left(site: PythonSite) -> int:
    """Those that wait, and those that a worker has taken in advance."""
    return number(site.broker.llen("celery")) + number(site.broker.hlen("unacked"))


_celery = partial(PythonPeer, product="celery", app="celery_app", left=_left)
_WORKER = ("celery", "-A", "celery_app", "worker", "--loglevel", "INFO")
_PREFORK = (*_WORKER, "--pool", "prefork", "--concurrency", "2")
_SOLO = (*_WORKER, "--pool", "solo", "--without-gossip", "--without-mingle", "--without-heartbeat")
_RESULTS = {"CELERY_RESULT_BACKEND": "django-db"}
_MIGRATE = ("python", "-m", "django", "migrate", "-v", "0")
_on_sqlite = partial(_celery, environment=_RESULTS, set_up=_MIGRATE, store=SQLiteStore)
_on_postgres = partial(_celery, environment=_RESULTS, set_up=_MIGRATE, store=PostgresStore)

CELERY = (
    _celery(setting="prefork 2", persists=f"{MESSAGE}; no result", worker=_PREFORK, pace=1_300, has_views=True),
    _celery(setting="solo", persists=f"{MESSAGE}; no result", worker=_SOLO, pace=1_300),
    _on_sqlite(
        setting="prefork 2, django-celery-results on SQLite",
        persists=f"{MESSAGE}; a row for each result in SQLite, synchronous=FULL",
        worker=_PREFORK,
        pace=400,
    ),
    _on_sqlite(
        setting="solo, django-celery-results on SQLite",
        persists=f"{MESSAGE}; a row for each result in SQLite, synchronous=FULL",
        worker=_SOLO,
        pace=400,
    ),
    _on_postgres(
        setting="prefork 2, django-celery-results on PostgreSQL",
        persists=f"{MESSAGE}; a row for each result in PostgreSQL, fsync and synchronous_commit on",
        worker=_PREFORK,
        pace=300,
    ),
    _on_postgres(
        setting="solo, django-celery-results on PostgreSQL",
        persists=f"{MESSAGE}; a row for each result in PostgreSQL, fsync and synchronous_commit on",
        worker=_SOLO,
        pace=300,
    ),
)
