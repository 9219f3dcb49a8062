"""What of RQ's worker is overridden does still exist there, and is called as we think."""

from __future__ import annotations

import inspect
import signal

import pytest
from rq.job import Job as StockJob
from rq.worker.base import BaseWorker

from jobs import queue
from jobs.queue import RqJob
from jobs.worker import Worker
from tests.real.watching import echo
from tests.support.world import World

KEPT = [
    "bootstrap",
    "subscribe",
    "unsubscribe",
    "register_birth",
    "register_death",
    "heartbeat",
    "set_state",
    "queue_names",
]
"""Used as they are."""

OWN = ["_be_visible", "_introduce", "_farewell"]
"""Ours alone: an RQ that had these names would be changed by us without knowing."""


def overridden() -> list[str]:
    names = [name for name, value in vars(Worker).items() if inspect.isfunction(value) or isinstance(value, property)]
    return sorted(set(names) - set(OWN))


@pytest.mark.parametrize("name", overridden())
def test_what_we_override_exists_in_rq_with_the_same_parameters(name: str) -> None:
    theirs, ours = getattr(BaseWorker, name), getattr(Worker, name)
    if isinstance(theirs, property):
        assert isinstance(ours, property)
    elif name != "__init__":
        assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)


@pytest.mark.parametrize("name", KEPT)
def test_what_we_use_of_rq_is_there(name: str) -> None:
    assert callable(getattr(BaseWorker, name))
    assert name not in vars(Worker)


@pytest.mark.parametrize("name", OWN)
def test_rq_has_nothing_by_the_names_we_added(name: str) -> None:
    assert not hasattr(BaseWorker, name)


def test_a_worker_changes_no_timeout_of_the_shared_connection(world: World) -> None:
    before = dict(queue.broker().connection_pool.connection_kwargs)
    worker = Worker(["default"], connection=queue.broker(), name="contract")
    assert worker.connection.connection_pool is not queue.broker().connection_pool
    assert queue.broker().connection_pool.connection_kwargs == before


def test_a_worker_can_be_made_while_redis_is_away(world: World) -> None:
    world.kill_broker()
    assert Worker(["default"], connection=queue.broker(), name="contract").ip_address == "unknown"


def test_registering_twice_is_no_error_and_a_wipe_is_noticed(world: World) -> None:
    worker = Worker(["default"], connection=queue.broker(), name="contract")
    worker._introduce()
    worker._introduce()
    queue.broker().flushall()
    assert not queue.broker().hexists(worker.key, "birth")
    worker._introduce()
    assert queue.broker().hexists(worker.key, "birth")
    worker._farewell()
    assert not queue.broker().smembers("rq:workers")


def test_signals_before_and_without_a_supervisor_do_nothing(world: World) -> None:
    worker = Worker(["default"], connection=queue.broker(), name="contract")
    worker.request_stop(signal.SIGTERM, None)
    worker.request_force_stop(signal.SIGTERM, None)
    worker.kill_horse()
    assert worker.horse_pid == 0
    assert worker.wait_for_horse() == (None, None, None)
    assert worker.run_maintenance_tasks() is None
    assert worker.teardown() is None


def test_the_hash_that_we_write_is_one_that_rq_reads(world: World) -> None:
    job_id = str(echo())
    job = StockJob.fetch(job_id, connection=queue.broker(), serializer="rq.serializers.JSONSerializer")
    assert job.func_name == queue.PERFORM
    assert job.args == [job_id]
    assert (job.kwargs, job.origin, job.timeout, job.get_status()) == ({}, "default", -1, "queued")
    assert job.enqueued_at is not None
    assert job.created_at is not None
    ours = RqJob.fetch(job_id, connection=queue.broker())
    assert ours.get_result_ttl(500) == 0
    assert queue.broker().lrange("rq:queue:default", 0, -1) == [job_id.encode()]
    assert queue.broker().smembers("rq:queues") == {b"rq:queue:default"}
