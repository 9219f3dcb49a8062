"""Three schedulers, killed at random: each slot of twenty schedules has its one job. `pytest -m slow` for a minute of it."""

from __future__ import annotations

import datetime as dt
import random
import time

import pytest

from jobs.models import IdempotencyKey, Job, Schedule
from tests.support.eventually import eventually
from tests.support.world import World

SCHEDULES = 20
SCHEDULERS = 3


def kill_for(world: World, seconds: float) -> int:
    """Kill one of three at random and start another, again and again; the number of kills."""
    start = dt.datetime.now(dt.UTC).replace(microsecond=0)
    for i in range(SCHEDULES):
        Schedule.objects.create(
            name=f"s{i:02}", type="echo", every_s=1 + i % 3, anchor=start, pointer=start, catch_up="all"
        )
    alive = [world.scheduler() for _ in range(SCHEDULERS)]
    chance, kills = random.Random(7), 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(chance.uniform(0.3, 2.0))
        victim = chance.randrange(SCHEDULERS)
        alive[victim].kill()
        alive[victim] = world.scheduler()
        kills += 1
    alive.append(world.scheduler())
    now = dt.datetime.now(dt.UTC)
    eventually(lambda: not Schedule.objects.filter(name__startswith="s", every_s__gt=0, pointer__lt=now - dt.timedelta(seconds=3)).exists(), timeout_s=40)  # fmt: skip
    for process in alive:
        process.kill()
    return kills


def assert_each_slot_once() -> int:
    count = 0
    for schedule in Schedule.objects.filter(name__startswith="s"):
        if schedule.every_s is None or schedule.pointer is None:
            continue
        step = dt.timedelta(seconds=schedule.every_s)
        wanted = []
        slot = schedule.anchor + step
        while slot <= schedule.pointer:
            wanted.append(f"schedule:{schedule.name}:{slot:%Y-%m-%dT%H:%M:%SZ}")
            slot += step
        keys = Job.objects.filter(key__startswith=f"schedule:{schedule.name}:").order_by("key")
        assert list(keys.values_list("key", flat=True)) == wanted
        count += len(wanted)
    assert count == IdempotencyKey.objects.filter(key__startswith="schedule:s").count()
    return count


def test_schedulers_that_are_killed_at_random_create_each_slot_once(world: World) -> None:
    kill_for(world, 8)
    assert assert_each_slot_once() > SCHEDULES


@pytest.mark.slow
def test_a_minute_of_killing_schedulers_leaves_each_slot_its_one_job(world: World) -> None:
    kills = kill_for(world, 60)
    world.note(f"{kills} kills, {assert_each_slot_once()} slots of {SCHEDULES} schedules, each once")
