"""One worker cut off by its network from the database, from Redis, or from both: no reset arrives, only silence."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connections
from rq.command import PUBSUB_CHANNEL_TEMPLATE, send_shutdown_command

from jobs import queue
from jobs.models import Event, Lease
from jobsite import broker
from tests.chaos import islet
from tests.chaos.islet import Islet
from tests.chaos.proxy import Proxy
from tests.real.test_broker_lost import assert_mirror_agrees
from tests.real.watching import all_reached, assert_lawful, budgets, echo, is_gone, live_lease, starts, story, submit
from tests.support import postgres, sandbox
from tests.support.eventually import eventually
from tests.support.processes import ROOT, Process
from tests.support.world import World

NAME = "islander"
WHY_NOT = islet.why_not()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
on_postgres = pytest.mark.skipif(sandbox.chosen_database() != "postgres", reason="SQLite is on no network")

VANISHED_S = 10 + 5
"""PostgreSQL does not answer: `tcp_user_timeout` or keepalives, then `connect_timeout`."""

STOPPED_S = 2 * VANISHED_S + 10
"""A stop that waits twice for a database that does not answer, and then for Redis."""


class Cut:
    """The system, and what one worker on an islet needs to know of it."""

    def __init__(self, world: World, found: Islet) -> None:
        self.world, self.islet = world, found
        proxy = Proxy(broker.socket_path(sandbox.folder()), found.address("broker"))
        self._environment = {"REDIS_URL": f"redis://{found.address('broker')}:{proxy.port}/0"}
        if sandbox.chosen_database() == "postgres":
            url = world.environment()["DATABASE_URL"]
            self._environment["DATABASE_URL"] = url.replace("127.0.0.1", found.address("database"))

    def worker(self, lease_s: float = 15, **more: str) -> tuple[Process, Lease]:
        """Started on the islet; its lease, once it has been renewed."""
        environment = self.world.environment({**self._environment, **leases(lease_s), **more})
        (self.world.data_dir / "logs").mkdir(exist_ok=True)
        log = self.world.data_dir / "logs" / f"{len(self.world.processes)}-{NAME}.log"
        program = self.islet.program(sys.executable, str(ROOT / "manage.py"))
        process = Process(["rqworker", "--name", NAME], environment, log, executable=program)
        self.world.processes.append(process)
        return process, live_lease(NAME)


def leases(lease_s: float) -> dict[str, str]:
    return {"JOBS_LEASE_S": str(lease_s), "JOBS_RENEW_S": str(lease_s / 5)}


@pytest.fixture
def cut(world: World) -> Iterator[Cut]:
    with islet.built("database", "broker") as found:
        if sandbox.chosen_database() == "postgres":
            server, address = postgres.server(sandbox.folder()), found.address("database")
            connections.close_all()
            server.open_to(islet.NETWORK, address)
        try:
            yield Cut(world, found)
            for process in world.processes:
                process.destroy()
        finally:
            if sandbox.chosen_database() == "postgres":
                connections.close_all()
                server.close_to(address)


@on_postgres
@pytest.mark.parametrize(("lease_s", "cut_s"), [(4, 0), pytest.param(15, 40, marks=pytest.mark.slow)])
def test_a_worker_without_its_database_ends_its_horse_before_another_takes_its_jobs(
    world: World, cut: Cut, tmp_path: Path, lease_s: float, cut_s: float
) -> None:
    worker, lease = cut.worker(lease_s)
    assert lease.horse_pid is not None
    ids = [submit("test-nap", seconds=600, once=True) for _ in range(3)]
    ids.append(submit("test-steps", gate=str(tmp_path / "gate")))
    ids.append(echo(effect="charge", effectSleepSeconds=600, onDoubt="skip"))
    all_reached(ids, "running")
    eventually(world.ledger)
    other = world.worker("--name", "other", PRETEND_STRANGER="1", **leases(lease_s))
    cut.islet.unplug("database")
    at = time.monotonic()
    (tmp_path / "gate").touch()  # that job ends while its horse lives, and cannot be recorded
    eventually(lambda: is_gone(lease.horse_pid or 0), timeout_s=lease_s + 10)
    fenced_s = time.monotonic() - at
    assert not Event.objects.filter(event="expire").exists()
    eventually(lambda: all(starts(job_id) == 2 for job_id in ids), timeout_s=lease_s + 20)
    taken_s = time.monotonic() - at
    world.note(
        f"database cut off, lease of {lease_s} s: horse ended {fenced_s:.1f} s, jobs taken {taken_s:.1f} s after"
    )
    assert fenced_s < lease_s
    assert taken_s < lease_s + 5
    all_reached(ids, "succeeded", timeout_s=40)
    if cut_s:
        worker.says("to take back jobs", timeout_s=VANISHED_S + 10)  # no statement waits for ever
        time.sleep(max(0.0, cut_s - (time.monotonic() - at)))  # the length of the cut is what this is about
    cut.islet.plug("database")
    assert live_lease(NAME).pk != lease.pk
    assert other.stop() == 0
    last = echo()
    all_reached([last], "succeeded")
    for job_id in ids:
        assert story(job_id) == ["submit", "start", "expire", "start", "succeed"]
        assert budgets(job_id) == (2, 0, 1)
    assert len(world.ledger()) == 1
    assert_lawful(world)


@on_postgres
@pytest.mark.slow
def test_five_seconds_without_the_database_cost_nothing(world: World, cut: Cut) -> None:
    _, lease = cut.worker()
    ids = [echo(sleepSeconds=n / 2, effect="charge") for n in range(10)]
    all_reached(ids[6:], "running")
    cut.islet.unplug("database")
    time.sleep(5)  # the length of the cut is what this is about
    cut.islet.plug("database")
    all_reached(ids, "succeeded", timeout_s=40)
    assert live_lease(NAME).pk == lease.pk
    assert {tuple(story(job_id)) for job_id in ids} == {("submit", "start", "succeed")}
    assert len(world.ledger()) == len(ids)


@pytest.mark.parametrize("cut_s", [3, pytest.param(40, marks=pytest.mark.slow)])
def test_a_worker_without_redis_keeps_its_lease_and_goes_on(world: World, cut: Cut, cut_s: float) -> None:
    worker, lease = cut.worker()
    eventually(hears_commands, timeout_s=20)
    before = echo(sleepSeconds=2)
    all_reached([before], "running")
    cut.islet.unplug("broker")
    at = time.monotonic()
    ids = [echo(effect="charge") for _ in range(5)]
    all_reached([before, *ids], "succeeded", timeout_s=40)
    world.note(f"Redis cut off: all jobs that came meanwhile done after {time.monotonic() - at:.1f} s")
    if cut_s > 5:  # Redis dies meanwhile, and nobody hears the reset
        world.kill_broker()
        world.start_broker()
    time.sleep(max(0.0, cut_s - (time.monotonic() - at)))  # the length of the cut is what this is about
    cut.islet.plug("broker")
    at = time.monotonic()
    ids += [echo() for _ in range(3)]
    all_reached(ids, "succeeded")
    assert live_lease(NAME).pk == lease.pk
    assert Event.objects.filter(event="start").count() == len(ids) + 1
    assert_mirror_agrees([before, *ids])
    eventually(hears_commands, timeout_s=60)
    world.note(f"RQ's commands are heard {time.monotonic() - at:.1f} s after the end of the cut")
    send_shutdown_command(queue.broker(), NAME)
    assert worker.wait(40) == 0


def hears_commands() -> bool:
    channel = PUBSUB_CHANNEL_TEMPLATE % NAME
    return bool(queue.broker().pubsub_numsub(channel)[0][1])


@on_postgres
@pytest.mark.slow
def test_a_worker_without_database_and_redis_stops_in_time(world: World, cut: Cut) -> None:
    grace_s = 1.0
    worker, lease = cut.worker(4, JOBS_STOP_GRACE_S=str(grace_s))
    job_id = submit("test-nap", seconds=600, once=True)
    all_reached([job_id], "running")
    for cable in ("database", "broker"):
        cut.islet.unplug(cable)
    at = time.monotonic()
    worker.stop(timeout_s=60)
    took_s = time.monotonic() - at
    world.note(f"cut off from everything, told to stop with a grace of {grace_s} s: ended after {took_s:.1f} s")
    assert is_gone(lease.horse_pid or 0)
    assert took_s < grace_s + STOPPED_S
