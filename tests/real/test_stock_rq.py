"""Any stock RQ worker runs our jobs correctly, only slower."""

from __future__ import annotations

import os
import signal
import sys
import uuid

import pytest
from rq.exceptions import DeserializationError
from rq.serializers import DefaultSerializer, JSONSerializer

from jobs import queue
from jobs.models import Event, Lease
from jobs.queue import RqJob
from tests.real.watching import budgets, echo, reached, story, submit
from tests.support.eventually import eventually
from tests.support.processes import Process
from tests.support.world import World

OURS = ["rqworker", "high", "default", "low", "--worker-class", "rq.worker.Worker"]

DJANGO_RQS = """
import sys, django
django.setup()
from django.core.management import call_command
from django_rq.management.commands.rqworker import Command
call_command(Command(), "high", "default", "low", *sys.argv[1:])
"""


@pytest.fixture(params=["ours", "django-rq's"])
def start(request: pytest.FixtureRequest, world: World) -> object:
    """Starts a stock worker by our command or by django-rq's own."""

    def run(*arguments: str) -> Process:
        if request.param == "ours":
            return world.manage(*OURS, *arguments)
        log_path = world.data_dir / "logs" / "stock.log"
        log_path.parent.mkdir(exist_ok=True)
        log_path.unlink(missing_ok=True)
        process = Process(
            ["--worker-class", "rq.worker.Worker", *arguments],
            world.environment(),
            log_path,
            executable=[sys.executable, "-c", DJANGO_RQS],
        )
        world.processes.append(process)
        return process

    return run


def test_a_stock_worker_runs_our_jobs_and_leaves_nothing_but_rqs_own(world: World, start: object) -> None:
    good, failing, permanent = echo(value="v"), echo(failTimes=1), echo(permanent=True)
    with_effect = echo(effect="charge", queue="low")
    process = start("--burst")  # type: ignore[operator]
    assert process.wait(100) == 0, process.log
    assert reached(good, "succeeded", timeout_s=0).result == {"value": "v", "attempt": 1}
    assert story(good) == ["submit", "start", "succeed"]
    assert reached(failing, "scheduled", timeout_s=0).failures == 1
    assert reached(permanent, "failed", timeout_s=0).error_code == "asked-to-fail"
    reached(with_effect, "succeeded", timeout_s=0)
    assert len(world.ledger()) == 1
    assert Event.objects.filter(event="start").count() == 4
    assert {lease.kind for lease in Lease.objects.all()} == {"stock"}
    assert Lease.objects.filter(revoked_at=None).count() == 0
    assert_no_leftovers(process)


def test_a_handler_that_crashes_under_a_stock_worker_costs_a_crash_and_runs_again(world: World, start: object) -> None:
    crashing, after = echo(crashTimes=1), echo()
    process = start("--burst")  # type: ignore[operator]
    assert process.wait(100) == 0, process.log
    reached(after, "succeeded", timeout_s=0)
    assert reached(crashing, "succeeded", timeout_s=0).crashes == 1
    assert story(crashing) == ["submit", "start", "expire", "start", "succeed"]
    assert_no_leftovers(process)


def test_a_killed_stock_worker_is_repaired_by_housekeeping(world: World) -> None:
    stock = world.manage(*OURS)
    job_id = submit("test-nap", seconds=60, once=True)
    reached(job_id, "running")
    lease = Lease.objects.get(kind="stock")
    os.kill(lease.parent_pid, signal.SIGKILL)
    stock.kill()
    world.worker()
    reached(job_id, "succeeded")
    assert budgets(job_id) == (2, 0, 1)


def test_a_stock_worker_finds_nothing_to_do_in_a_pushed_double(world: World) -> None:
    job_id = echo()
    queue.broker().rpush("rq:queue:default", *[str(job_id)] * 3)
    process = world.manage(*OURS, "--burst")
    assert process.wait(100) == 0, process.log
    assert story(job_id) == ["submit", "start", "succeed"]


@pytest.mark.parametrize(
    "data",
    [
        DefaultSerializer.dumps(("os.system", None, ("touch /tmp/never",), {})),
        JSONSerializer.dumps(("os.system", None, ["touch /tmp/never"], {})),
        JSONSerializer.dumps(("jobs.worker.perform", None, ["no uuid"], {})),
        JSONSerializer.dumps(("jobs.worker.perform", None, [], {"job_id": "00000000-0000-7000-8000-000000000000"})),
        JSONSerializer.dumps(("jobs.worker.perform", "os", ["00000000-0000-7000-8000-000000000000"], {})),
    ],
)
def test_nothing_but_our_own_function_is_ever_run(world: World, data: bytes) -> None:
    job_id = str(uuid.uuid4())
    queue.broker().hset(
        f"rq:job:{job_id}", mapping={"data": data, "origin": "default", "created_at": "2026-01-01T00:00:00.000000Z"}
    )
    job = RqJob.fetch(job_id, connection=queue.broker())
    with pytest.raises(DeserializationError):
        job.perform()


def assert_no_leftovers(process: Process) -> None:
    """No job hash, nothing in a list, and what RQ's own registries keep is of RQ's making."""

    def look() -> bool:
        keys = {key.decode() for key in queue.broker().keys("rq:*")}
        assert not {key for key in keys if key.startswith(("rq:job:", "rq:queue:", "rq:failed", "rq:results"))}, keys
        return True

    eventually(look)
    assert "Traceback" not in process.log, process.log
