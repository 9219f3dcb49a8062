"""In which order a horse starts what waits."""

from __future__ import annotations

import re
import uuid

import pytest

from jobs import failpoints
from tests.real.watching import all_reached, echo, reached
from tests.support.eventually import eventually
from tests.support.processes import Process
from tests.support.world import World

pytestmark = pytest.mark.django_db(transaction=True)


def started(worker: Process) -> list[uuid.UUID]:
    return [uuid.UUID(text) for text in re.findall(r"job (\S+) echo attempt 1 starts", worker.log)]


def test_an_id_that_is_slow_to_reach_the_horse_is_not_overtaken(world: World) -> None:
    worker = world.worker("--horses", "1", JOBS_FAIL="claim.after_pop:2:sleep")
    first = echo(sleepSeconds=0.5)
    reached(first, "running")
    second = echo()
    eventually(lambda: any((world.data_dir / failpoints.FOLDER).glob("*")))  # popped, and held back
    third = echo()
    all_reached([first, second, third], "succeeded")
    assert started(worker) == [first, second, third]


def test_what_waits_in_an_urgent_queue_starts_first(world: World) -> None:
    low = [echo(queue="low") for _ in range(5)]
    high = [echo(queue="high") for _ in range(5)]
    worker = world.worker("--concurrency", "20")
    all_reached([*low, *high], "succeeded")
    assert started(worker) == [*high, *low]
