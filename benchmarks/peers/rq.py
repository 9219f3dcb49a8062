"""RQ by django-rq: its usual worker, which forks for each job, and its fastest, which does not."""

from __future__ import annotations

from functools import partial

from benchmarks.peers.python import PythonPeer, PythonSite
from benchmarks.services import number


def _left(site: PythonSite) -> int:
    return number(site.broker.llen("rq:queue:default")) + number(site.broker.zcard("rq:wip:default"))


_WORKER = ("python", "-m", "django", "rqworker", "default")
_rq = partial(PythonPeer, product="rq", app="rq_app", left=_left)

RQ = (
    _rq(
        setting="django-rq, fork per job",
        persists="job in Valkey, with its result for 500 s; no database, up to a second lost with the broker",
        worker=_WORKER,
        pace=200,
        is_usual=True,
        accepts=("single", "batch of 100"),
    ),
    _rq(
        setting="django-rq, SimpleWorker, no logs, no results",
        persists="job in Valkey until it is done; no database, up to a second lost with the broker",
        worker=(*_WORKER, "--worker-class", "rq.SimpleWorker", "--verbosity", "0"),
        environment={"RESULT_TTL_S": "0"},
        pace=600,
    ),
)
