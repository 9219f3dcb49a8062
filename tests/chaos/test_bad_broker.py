"""A Redis that is there and does not do its work: read-only, full, without its replicas, silent, slow.

Meanwhile jobs are accepted within the budget for reaching it, statuses are read, and jobs run once.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import pytest
import redis

from jobs import queue
from jobs.models import Event, Job
from jobsite import broker
from tests.real.test_broker_lost import assert_mirror_agrees
from tests.real.watching import all_reached, assert_lawful, reached
from tests.support import http, sandbox
from tests.support.callers import Caller, make_key
from tests.support.world import World

BUDGET_S = 0.6
"""Of a POST, for Redis; instead of 0.2, so that spending it twice is told from a busy machine."""

TWICE_S = 1.2

ASK_EACH_TIME = "99/m"
"""So few that Redis is asked for each request, not for each lot of them."""


@contextlib.contextmanager
def read_only() -> Iterator[None]:
    queue.broker().config_set("replica-read-only", "yes")
    queue.broker().replicaof("127.0.0.1", "1")
    yield
    queue.broker().replicaof("NO", "ONE")


@contextlib.contextmanager
def without_replicas() -> Iterator[None]:
    queue.broker().config_set("min-replicas-to-write", 1)
    yield
    queue.broker().config_set("min-replicas-to-write", 0)


@contextlib.contextmanager
def full() -> Iterator[None]:
    queue.broker().config_set("maxmemory", 1)
    yield
    queue.broker().config_set("maxmemory", 0)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Connections are made, and nothing is answered."""
    queue.broker().execute_command("CLIENT", "PAUSE", "60000", "ALL")
    yield
    restart()


@contextlib.contextmanager
def slow() -> Iterator[None]:
    """Whatever is asked is answered, after a while that is within the budget."""
    is_over = threading.Event()

    def hold_up() -> None:
        with redis.Redis.from_url(broker.url(sandbox.folder())) as connection:
            while not is_over.is_set():
                connection.execute_command("CLIENT", "PAUSE", str(int(BUDGET_S * 700)), "ALL")

    thread = threading.Thread(target=hold_up)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def restart() -> None:
    """It forgets the pause; its files stay."""
    broker.stop(sandbox.folder())
    broker.start(sandbox.folder())


class Client:
    """One whose requests are counted: a rate limit is another matter for Redis."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._key = make_key("counted", list(Caller.SCOPES))
        self.slowest_s = 0.0

    def submit(self, **payload: object) -> uuid.UUID:
        answer = self._call("POST", "/api/jobs", {"type": "echo", "payload": payload})
        assert answer.status == 202, answer.body
        return uuid.UUID(answer.json()["id"])

    def status(self, job_id: uuid.UUID) -> str:
        answer = self._call("GET", f"/api/jobs/{job_id}")
        assert answer.status == 200, answer.body
        return str(answer.json()["status"])

    def _call(self, method: str, path: str, body: object = None) -> http.Reply:
        began = time.monotonic()
        answer = self._world.call(method, path, body, key=self._key)
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        return answer


@pytest.mark.parametrize(
    "fault",
    [silent, *(pytest.param(fault, marks=pytest.mark.slow) for fault in (slow, read_only, without_replicas, full))],
    ids=lambda fault: fault.__name__,
)
def test_a_redis_that_does_not_do_its_work_costs_one_budget_and_no_job(
    world: World, fault: Callable[[], contextlib.AbstractContextManager[None]]
) -> None:
    world.serve(JOBS_BROKER_BUDGET_S=str(BUDGET_S), JOBS_RATE_LIMIT=ASK_EACH_TIME)
    world.worker()
    client = Client(world)
    before = client.submit(sleepSeconds=2, effect="charge")
    reached(before, "running")
    client.slowest_s = 0
    with fault():
        ids = [client.submit(effect="charge") for _ in range(3)]
        assert client.status(before) in ("running", "succeeded")
        assert client.status(ids[0]) in ("queued", "running", "succeeded")
        world.note(f"a Redis that is {fault.__name__}: slowest answer {client.slowest_s:.2f} s")
        assert client.slowest_s < TWICE_S
        all_reached([before, *ids], "succeeded")
        assert client.status(ids[0]) == "succeeded"
    assert Event.objects.filter(event="start").count() == Job.objects.count() == len(world.ledger()) == 4
    assert_mirror_agrees(ids)
    assert_lawful(world)
