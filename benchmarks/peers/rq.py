"""RQ by django-rq: its own worker, which forks for each job, and the one that does not."""

from __future__ import annotations

from functools import partial

from benchmarks.peers.python import PythonPeer, PythonSite
from benchmarks.services import number

KEPT = "job in Valkey, with its result for 500 s; no database, up to a second lost with the broker"


def _left(site: PythonSite) -> int:
    return number(site.broker.llen("rq:queue:default")) + number(site.broker.zcard("rq:wip:default"))


_rq = partial(PythonPeer, product="rq", app="rq_app", persists=KEPT, left=_left)
_WORKER = ("python", "-m", "django", "rqworker", "default")

RQ = (
    _rq(setting="django-rq, fork per job", worker=_WORKER, pace=150, has_views=True),
    _rq(setting="django-rq, SimpleWorker", worker=(*_WORKER, "--worker-class", "rq.SimpleWorker"), pace=700),
)
