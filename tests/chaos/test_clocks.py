"""Wall clocks that are wrong by an hour, and clocks that are set while everything runs.

What decides is the database's clock: on SQLite that of the processes, on PostgreSQL the server's. Nothing may happen
twice, nobody may be taken for dead, and nothing may wait for the clock to come round again.
"""

from __future__ import annotations

import datetime as dt
import shutil
from collections import Counter
from collections.abc import Iterator

import pytest
from django.db import connection

from jobs import queue, rebuild
from jobs.api import keys
from jobs.models import ApiKey, ClockStep, Event, Housekeeping, Job, Lease, LogLine, MinuteStat, Schedule, clock
from jobs.reconcile import Housekeeper
from tests.chaos.clocks import WrongClock
from tests.real.watching import all_reached, assert_lawful, budgets, echo, reached, submit
from tests.support import postgres, sandbox
from tests.support.eventually import eventually
from tests.support.world import World

pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None, reason="no C compiler (Debian's package gcc), which builds a clock that can be set"
)

HOUR_S = 3590
"""Ten seconds less: what steps further forward than an hour waits a minute for somebody to set it right."""

SHORT = {"JOBS_LEASE_S": "4", "JOBS_RENEW_S": "1"}
"""Instead of 15 and 3: a job of six seconds outlasts it."""


@pytest.fixture
def machine(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[WrongClock]:
    """The clock of the one machine that everything of this world runs on, the database too."""
    found = WrongClock("machine")
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    if connection.vendor == "postgresql":
        restart_database()
    yield found
    found.set(0)
    for process in world.processes:
        process.destroy()
    monkeypatch.undo()
    if connection.vendor == "postgresql":
        restart_database()
    assert_lawful(world)


def restart_database() -> None:
    """It takes over this process's environment."""
    connection.close()
    server = postgres.server(sandbox.folder())
    server.stop()
    server.start()


def beat(name: str, every_s: int, catch_up: str) -> None:
    now = clock.now().replace(microsecond=0)
    Schedule.objects.create(name=name, type="echo", every_s=every_s, anchor=now, pointer=now, catch_up=catch_up)


def slots(name: str) -> list[dt.datetime]:
    start = f"schedule:{name}:"
    keys = Job.objects.filter(key__startswith=start).values_list("key", flat=True)
    return sorted(dt.datetime.fromisoformat(str(key).removeprefix(start)) for key in keys)


def assert_nothing_twice() -> None:
    assert max(Counter(Job.objects.filter(key__isnull=False).values_list("key", flat=True)).values(), default=1) == 1
    starts = Counter(Event.objects.filter(event="start").values_list("job_id", flat=True))
    assert max(starts.values(), default=1) == 1


def steps() -> list[int]:
    """What the scheduler noticed, in order, in seconds."""
    return [round(one.step_s) for one in ClockStep.objects.order_by("pk")]


def test_a_clock_that_is_set_an_hour_forward_and_back_does_nothing_twice(world: World, machine: WrongClock) -> None:
    for policy in ("none", "last", "all"):
        beat(policy, 60, policy)
    beat("often", 1, "none")
    scheduler, worker = world.scheduler(), world.worker()
    lease_id = Lease.objects.get().id
    eventually(lambda: len(slots("often")) >= 2, timeout_s=20)
    running = [echo(sleepSeconds=6, effect="charge") for _ in range(3)]
    all_reached(running, "running")

    machine.set(HOUR_S)
    eventually(lambda: len(steps()) == 1, timeout_s=10)
    eventually(lambda: len(slots("all")) >= 59, timeout_s=10)
    ahead = submit("test-nap", seconds=4, timeout_s=60)
    reached(ahead, "running")

    machine.set(0)
    before = dt.datetime.now(dt.UTC)
    eventually(lambda: len(steps()) == 2, timeout_s=10)
    forward_s, back_s = steps()
    assert abs(forward_s - HOUR_S) <= 5
    assert abs(back_s + HOUR_S) <= 5
    assert "look after its time synchronisation" in scheduler.log
    eventually(lambda: sum(before < slot < before + dt.timedelta(minutes=1) for slot in slots("often")) >= 3)

    assert len(slots("last")) in (1, 2)  # a slot of the hour is on time by chance, or made up for; and now's
    assert len(slots("none")) <= 2
    all_reached([*running, ahead], "succeeded")
    eventually(lambda: not Job.objects.filter(status__in=("queued", "running")).exists(), timeout_s=20)
    assert {budgets(job_id) for job_id in [*running, ahead]} == {(1, 0, 0)}
    assert len(world.ledger()) == 3
    assert_nothing_twice()
    assert [(lease.id, lease.revoked_at) for lease in Lease.objects.all()] == [(lease_id, None)], worker.log


@pytest.mark.slow
def test_what_was_started_before_the_clock_went_back_still_has_a_hard_limit(world: World, machine: WrongClock) -> None:
    machine.set(HOUR_S)
    world.worker(JOBS_HARD_TIMEOUT_EXTRA_S="1")
    job_id = submit("test-stubborn", timeout_s=3)
    reached(job_id, "running")
    machine.set(0)
    eventually(lambda: Event.objects.filter(job_id=job_id, error_code="timeout").exists(), timeout_s=10)
    assert budgets(job_id)[1:] == (1, 0)


@pytest.mark.slow
def test_processes_whose_clocks_are_hours_apart_do_each_slot_and_each_job_once(world: World) -> None:
    beat("often", 10, "all")
    clocks = {offset_s: WrongClock(f"apart{offset_s}") for offset_s in (-HOUR_S, HOUR_S)}
    for offset_s, one in clocks.items():
        one.set(offset_s)
        world.scheduler(**one.environment)
        world.worker("--name", f"apart{offset_s}", **one.environment, **SHORT)
    world.scheduler()
    world.worker("--name", "right", **SHORT)
    began = clock.now()
    ids = [echo(sleepSeconds=6, effect="charge") for _ in range(12)]
    eventually(lambda: slots("often")[-1:] >= [began], timeout_s=20)
    all_reached(ids, "succeeded", timeout_s=30)
    if connection.vendor == "postgresql":  # theirs do not matter
        assert slots("often")[-1] <= clock.now()
    for process in world.processes:
        process.stop()
    assert {budgets(job_id) for job_id in ids} == {(1, 0, 0)}
    assert len(world.ledger()) == len(ids)
    assert_nothing_twice()
    assert not Event.objects.filter(event__in=("expire", "retry")).exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("seconds", "is_free"), [(3600, True), (2, False)])
def test_a_turn_of_housekeeping_from_before_the_clock_went_back_is_over(seconds: int, is_free: bool) -> None:
    end = clock.now() + dt.timedelta(seconds=seconds)
    Housekeeping.objects.update_or_create(pk=1, defaults={"holder": "elsewhere/boot/1/1", "expires_at": end})
    assert (Housekeeper("one").turn() is not None) == is_free


@pytest.mark.django_db(transaction=True)
def test_a_job_that_was_queued_before_the_clock_went_back_is_found_when_its_id_is_lost() -> None:
    job_id = echo()
    queue.broker().flushall()
    Job.objects.filter(pk=job_id).update(queued_at=clock.now() + dt.timedelta(hours=1))
    assert rebuild.repush_lost("default") == 1
    assert queue.broker().lrange("rq:queue:default", 0, -1) == [str(job_id).encode()]
    assert rebuild.repush_lost("default") == 0


@pytest.mark.skipif(connection.vendor == "sqlite", reason="database and program share one clock")
@pytest.mark.parametrize("offset_s", [3600, -3600])
def test_a_machine_whose_clock_is_wrong_accepts_jobs_for_the_databases_time(world: World, offset_s: int) -> None:
    wrong = WrongClock(f"api{offset_s}")
    wrong.set(offset_s)
    world.serve(**wrong.environment)
    now = clock.now()
    asked = {minutes: (now + dt.timedelta(minutes=minutes)).isoformat() for minutes in (-30, 30)}
    replies = {minutes: world.call("POST", "/api/jobs", {"type": "echo", "runAt": at}) for minutes, at in asked.items()}
    assert {minutes: reply.json()["status"] for minutes, reply in replies.items()} == {-30: "queued", 30: "scheduled"}
    batch = [{"type": "echo", "runAt": at} for at in asked.values()]
    items = world.call("POST", "/api/jobs/batch", {"jobs": batch}).json()
    assert [one["job"]["status"] for one in items["items"]] == ["queued", "scheduled"], items
    assert set(Event.objects.values_list("event", "target")) == {("submit", "queued"), ("submit", "scheduled")}
    assert not Job.objects.exclude(queued_at=None).exclude(status="queued").exists()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="database and program share one clock")
def test_what_a_machine_whose_clock_is_wrong_stores_and_judges_has_the_databases_time(world: World) -> None:
    """Lines of a job's log, minutes of statistics, and the end of an API key."""
    wrong = WrongClock("ahead")
    wrong.set(HOUR_S)
    _, ends_soon = keys.create("soon", expires_at=clock.now() + dt.timedelta(minutes=30))
    _, has_ended = keys.create("late", expires_at=clock.now() + dt.timedelta(minutes=30))
    ApiKey.objects.filter(client="late").update(expires_at=clock.now() - dt.timedelta(minutes=30))
    world.serve(**wrong.environment)
    world.worker(**wrong.environment)
    assert world.call("GET", "/api/jobs", key=ends_soon).status == 200
    assert world.call("GET", "/api/jobs", key=has_ended).status == 401
    now = clock.now()
    job_ids = [submit("health-check"), echo(failTimes=1)]
    reached(job_ids[0], "succeeded")
    eventually(lambda: MinuteStat.objects.filter(outcome="retry").exists(), timeout_s=20)
    assert all(abs((line.at - now).total_seconds()) < 600 for line in LogLine.objects.filter(job_id=job_ids[0]))
    assert LogLine.objects.filter(job_id=job_ids[0]).exists()
    assert all(abs((row.minute - now).total_seconds()) < 600 for row in MinuteStat.objects.all())
