"""The scheduler as django-rq starts it: in this process, and as real processes."""

from __future__ import annotations

import datetime as dt
import itertools
import re
import signal
import threading
import time

import pytest

from jobs import owner, queue, reconcile
from jobs.models import Housekeeping, Job, Schedule
from jobs.scheduler import REFUSAL, Scheduler
from jobsite import broker
from tests.support import sandbox
from tests.support import world as worlds
from tests.support.eventually import eventually
from tests.support.world import World


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler(connection=queue.broker(), interval=1)


@pytest.mark.django_db(transaction=True)
def test_a_turn_creates_the_declared_schedules_and_keeps_house(scheduler: Scheduler) -> None:
    scheduler.run(burst=True)
    assert set(Schedule.objects.values_list("name", flat=True)) >= {"maintenance", "health-check"}
    assert Housekeeping.objects.get().beat >= 1


@pytest.mark.django_db(transaction=True)
def test_tools_see_its_birth_and_its_death(scheduler: Scheduler) -> None:
    reconcile.reconcile()
    scheduler.run(burst=True)
    assert queue.broker().hget(scheduler.key, "birth")
    assert queue.broker().hget(scheduler.key, owner.FIELD) == Housekeeping.objects.get().mark.encode()
    assert queue.broker().hget(scheduler.key, "death")
    assert 0 < queue.broker().ttl(scheduler.key) <= 60


@pytest.mark.parametrize("verb", ["enqueue_at", "enqueue_in", "schedule", "cron", "enqueue_job", "enqueue_jobs"])
def test_entries_of_rq_scheduler_are_refused_with_the_way_to_go(scheduler: Scheduler, verb: str) -> None:
    with pytest.raises(NotImplementedError, match="schedules set") as refused:
        getattr(scheduler, verb)()
    assert str(refused.value) == REFUSAL


@pytest.mark.django_db(transaction=True)
def test_it_ticks_without_redis_and_shows_itself_when_redis_is_back(scheduler: Scheduler) -> None:
    long_ago = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    Schedule.objects.create(name="beat", type="echo", cron="* * * * *", pointer=long_ago)
    broker.stop(sandbox.folder())
    thread = threading.Thread(target=scheduler.run)
    thread.start()
    try:
        eventually(lambda: Job.objects.filter(key__startswith="schedule:beat:").exists(), timeout_s=10)
    finally:
        worlds.start_broker()
    eventually(lambda: queue.is_reachable() and queue.broker().exists(scheduler.key), timeout_s=10)
    scheduler.stop()
    thread.join(10)
    assert not thread.is_alive()


def beat_every_second() -> None:
    start = dt.datetime.now(dt.UTC)
    Schedule.objects.create(name="beat", type="echo", every_s=1, anchor=start, pointer=start, catch_up="all")


def slots_with_a_job(at_least: int) -> list[dt.datetime]:
    """In order, once there are so many."""
    jobs = Job.objects.filter(key__startswith="schedule:beat:")
    eventually(lambda: jobs.count() >= at_least, timeout_s=30)
    keys = sorted(key or "" for key in jobs.values_list("key", flat=True))
    return [dt.datetime.fromisoformat(key.removeprefix("schedule:beat:")) for key in keys]


def assert_each_second_once(slots: list[dt.datetime]) -> None:
    assert all(later - earlier == dt.timedelta(seconds=1) for earlier, later in itertools.pairwise(slots))


def test_two_schedulers_create_each_slot_once(world: World) -> None:
    beat_every_second()
    pair = [world.scheduler(), world.scheduler()]
    slots_with_a_job(at_least=4)
    for process in pair:
        assert process.stop(10) == 0, process.log
        assert "Traceback" not in process.log
    assert_each_second_once(slots_with_a_job(at_least=4))


def test_a_killed_scheduler_leaves_neither_a_gap_nor_a_double(world: World) -> None:
    beat_every_second()
    for _ in range(3):
        process = world.scheduler()
        known = Job.objects.count()
        slots_with_a_job(at_least=known + 2)
        process.kill()
    assert_each_second_once(slots_with_a_job(at_least=6))


def test_a_scheduler_writes_its_pid_file_and_stops_soon(world: World) -> None:
    pid_file = world.data_dir / "scheduler.pid"
    process = world.scheduler("--pid", str(pid_file), "--interval", "30", "--queue", "default", "-v", "2")
    eventually(lambda: re.search(rf"\.{process.pid}\.\w+ started", process.log), timeout_s=20)
    assert int(pid_file.read_text()) == process.pid
    began = time.monotonic()
    process.send(signal.SIGINT)
    assert process.wait(20) == 0, process.log
    assert time.monotonic() - began < 20
    assert not pid_file.exists()


def test_a_scheduler_outlives_an_outage_of_the_database(world: World) -> None:
    process = world.scheduler(DATABASE_URL="postgres://nobody@127.0.0.1:1/none")
    eventually(lambda: process.log.count("the database does not answer, trying again") >= 2, timeout_s=20)
    assert process.stop(10) == 0, process.log
    assert "Traceback" not in process.log


@pytest.mark.parametrize(
    ("arguments", "part"), [(["--queue", "nowhere"], "no queue"), (["--interval", "0"], "at least 1")]
)
def test_what_makes_no_sense_is_refused_in_a_sentence(world: World, arguments: list[str], part: str) -> None:
    code, log = world.run("rqscheduler", *arguments)
    assert code == 2
    assert part in log
    assert "Traceback" not in log
