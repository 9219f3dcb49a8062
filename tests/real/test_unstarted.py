"""Isolated attempts whose process takes long to start, or cannot be: no handler has begun, so nobody is charged."""

from __future__ import annotations

import pytest

from jobs import process
from jobs.models import Lease
from tests.real.watching import budgets, horse_pid, kill, reached, story, submit
from tests.support.apps import LOADING_S
from tests.support.eventually import eventually
from tests.support.world import World

pytestmark = pytest.mark.skipif(not process.HAS_CHILDREN, reason="the kernel does not tell of children")

NO_TRACE = ["submit", "start", "succeed"]


def helper_pid() -> int:
    """The process that loads the project for isolated attempts."""

    def look() -> int:
        return next((pid for pid in process._children(horse_pid()) if command(pid).startswith("jobs_nursery")), 0)

    return eventually(look, timeout_s=60)


def command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            return file.read()
    except OSError:
        return ""


def test_time_limits_begin_when_the_project_is_loaded(world: World) -> None:
    """It takes longer than the attempt may."""
    world.worker(JOBS_HARD_TIMEOUT_EXTRA_S="0.5", **{LOADING_S: "9"})
    job_id = submit("test-world-apart", timeout_s=1)
    reached(job_id, "succeeded", timeout_s=90)
    assert (story(job_id), budgets(job_id)) == (NO_TRACE, (1, 0, 0))
    assert Lease.objects.count() == 1


def test_a_job_whose_process_cannot_be_started_is_put_back_without_a_trace(world: World) -> None:
    worker = world.worker(**{LOADING_S: "3"})
    job_id = submit("test-world-apart")
    kill(helper_pid())
    reached(job_id, "succeeded", timeout_s=90)
    assert "could not be started" in worker.log
    assert (story(job_id), budgets(job_id)) == (NO_TRACE, (1, 0, 0))


def test_the_helper_ends_in_silence_with_its_horse(world: World) -> None:
    worker = world.worker()
    reached(submit("test-world-apart"), "succeeded", timeout_s=90)
    kill(before := horse_pid())
    eventually(lambda: horse_pid() != before, timeout_s=60)
    worker.stop()
    assert "Traceback" not in worker.log
