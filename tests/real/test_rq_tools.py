"""What people who know RQ expect to work on a worker of ours: its commands, its list of workers, its pause."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import uuid
from collections.abc import Callable

import redis
from django_rq import get_connection
from rq.command import send_kill_horse_command, send_shutdown_command, send_stop_job_command
from rq.exceptions import InvalidJobOperation
from rq.suspension import resume, suspend
from rq.worker import Worker as StockWorker

from jobs import queue
from jobs.conf import conf
from jobs.models import Job
from jobsite import broker
from tests.real.watching import all_reached, budgets, echo, horse_pid, is_gone, reached, story, submit
from tests.support.eventually import eventually
from tests.support.processes import Process
from tests.support.world import World


def rqs_connection() -> redis.Redis:
    """Of its own: RQ sets the socket timeout of a pool that it is given to minutes."""
    return queue.patient_broker(5)


def registered(name: str) -> StockWorker:
    """The worker as RQ's own tools read it."""

    def look() -> StockWorker:
        (found,) = [one for one in StockWorker.all(connection=rqs_connection()) if one.name == name]
        return found

    def patiently() -> StockWorker | None:
        try:
            return look()
        except ValueError:
            return None

    found = eventually(patiently, timeout_s=20)
    assert found is not None
    return found


def named_worker(world: World) -> Process:
    worker = world.worker("--name", "alpha")
    registered("alpha")
    return worker


def test_rqs_tools_see_the_worker_and_its_end(world: World) -> None:
    worker = named_worker(world)
    found = registered("alpha")
    assert found.pid == worker.pid
    assert found.queue_names() == ["high", "default", "low"]
    info = subprocess.run(
        [sys.executable, "-m", "rq.cli", "info", "-u", broker.url(world.data_dir), "--raw"],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert "alpha" in info.stdout, info.stderr
    worker.stop()
    assert StockWorker.all(connection=rqs_connection()) == []


def test_a_worker_registers_again_after_a_wipe(world: World) -> None:
    named_worker(world)
    queue.broker().flushall()
    registered("alpha")


def test_a_worker_starts_while_redis_is_away_and_registers_later(world: World) -> None:
    world.kill_broker()
    world.worker("--name", "alpha")
    world.start_broker()
    registered("alpha")
    job_id = echo(sleepSeconds=60)
    reached(job_id, "running")
    _until(lambda: send_stop_job_command(queue.broker(), str(job_id)), job_id, "cancelled")


def test_suspending_rq_rests_every_worker_until_it_is_resumed(world: World) -> None:
    named_worker(world)
    reached(echo(), "succeeded")
    suspend(queue.broker())
    world.worker("--name", "beta", "--burst").wait()  # a burst does not wait for it
    first = [echo() for _ in range(5)]
    eventually(lambda: Job.objects.filter(pk__in=first, status__in=("queued", "succeeded")).count() == 5)
    later = [echo() for _ in range(5)]
    world.worker("--burst").wait()
    assert set(Job.objects.filter(pk__in=later).values_list("status", flat=True)) == {"queued"}
    resume(queue.broker())
    all_reached([*first, *later], "succeeded")


def test_rqs_stop_job_is_our_cancel(world: World) -> None:
    named_worker(world)
    job_id = echo(sleepSeconds=60)
    reached(job_id, "running")
    _until(lambda: send_stop_job_command(queue.broker(), str(job_id)), job_id, "cancelled")
    assert story(job_id) == ["submit", "start", "request_cancel", "abort"]


def test_rqs_kill_horse_releases_what_ran(world: World) -> None:
    named_worker(world)
    job_id = submit("test-nap", seconds=60, once=True)
    reached(job_id, "running")
    horse = horse_pid()
    send_kill_horse_command(queue.broker(), "alpha")
    eventually(lambda: is_gone(horse))
    reached(job_id, "succeeded")
    assert story(job_id) == ["submit", "start", "release", "start", "succeed"]
    assert budgets(job_id) == (2, 0, 0)


def test_rqs_shutdown_is_a_warm_stop(world: World) -> None:
    worker = named_worker(world)
    job_id = submit("test-finishing")
    reached(job_id, "running")
    send_shutdown_command(queue.broker(), "alpha")
    assert worker.wait() == 0, worker.log
    assert reached(job_id, "succeeded").result == "finished"


def _until(send: Callable[[], object], job_id: uuid.UUID, status: str) -> None:
    """Send a command, which nobody keeps, until it was heard: the subscription may be a moment behind."""

    def heard() -> bool:
        if Job.objects.get(pk=job_id).status != status:
            with contextlib.suppress(InvalidJobOperation):  # Redis does not know yet who runs it
                send()
        return Job.objects.get(pk=job_id).status == status

    eventually(heard, timeout_s=20, every_s=0.5)


def test_rqs_tools_leave_the_time_alone_that_accepting_has_for_redis(world: World) -> None:
    tools = get_connection("default")
    StockWorker(["default"], connection=tools)  # as for each worker that they list
    assert tools.connection_pool.connection_kwargs["socket_timeout"] > 60
    queue.broker.cache_clear()
    assert queue.broker().connection_pool.connection_kwargs["socket_timeout"] == conf().broker_budget_s
    assert queue.broker().ping()
