"""A job that takes memory without end: the kernel ends its process, and nobody else pays more than one crash."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jobs.models import Event
from tests.chaos import memory
from tests.real.watching import (
    all_reached,
    assert_lawful,
    budgets,
    echo,
    horse_pid,
    live_lease,
    reached,
    submit,
)
from tests.support.world import World

ENOUGH_MB = 600
"""For a worker, its horse and a process for a job apart; filled within a second."""


@pytest.fixture
def narrow(world: World) -> Iterator[memory.Group]:
    """A worker that has so much memory and no more."""
    with memory.group(ENOUGH_MB) as group:
        if group is None:
            pytest.skip("no memory cgroup may be made here (it takes root and the memory controller)")
        worker = world.manage("rqworker")
        group.take(worker.pid)
        live_lease()
        yield group
        worker.destroy()
        assert_lawful(world)


def test_a_job_that_takes_all_memory_is_failed_and_takes_no_innocent_with_it_twice(
    world: World, narrow: memory.Group
) -> None:
    innocents = [echo(sleepSeconds=1.5) for _ in range(9)]
    all_reached(innocents, "running")
    greedy = submit("test-greedy")
    job = reached(greedy, "failed", timeout_s=60)
    assert (job.error_code, budgets(greedy)) == ("crashed", (3, 0, 3))
    assert "SIGKILL" in Event.objects.filter(job_id=greedy, event="expire").latest("id").error_text
    assert narrow.kills() == 3
    all_reached(innocents, "succeeded", timeout_s=40)
    for innocent in innocents:
        _, failures, crashes = budgets(innocent)
        assert failures == 0
        assert crashes <= 1


def test_an_isolated_job_that_takes_all_memory_dies_alone(world: World, narrow: memory.Group) -> None:
    horse = horse_pid()
    innocents = [echo(sleepSeconds=3) for _ in range(9)]
    all_reached(innocents, "running")
    greedy = submit("test-greedy-apart")
    job = reached(greedy, "failed", timeout_s=60)
    assert (job.error_code, budgets(greedy)) == ("crashed", (3, 0, 3))
    assert narrow.kills() == 3
    all_reached(innocents, "succeeded", timeout_s=40)
    assert {budgets(innocent) for innocent in innocents} == {(1, 0, 0)}
    assert horse_pid() == horse
