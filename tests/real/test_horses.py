"""A worker of several horses: they share its threads, and each lives and dies for itself."""

from __future__ import annotations

import os
import signal
import uuid
from collections import Counter
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import pytest

from jobs import team
from jobs.models import Event, Job, Lease
from jobs.supervise import Options
from tests.real.watching import all_reached, assert_lawful, descendants, echo, is_gone, kill, reached, story, submit
from tests.support.eventually import eventually
from tests.support.processes import Process
from tests.support.world import World


def horses(count: int = 2) -> list[Lease]:
    """The live leases, once there are so many whose horse is known, the oldest first."""

    def look() -> list[Lease]:
        return list(Lease.objects.filter(revoked_at=None, horse_pid__isnull=False).order_by("created_at"))

    return eventually(lambda: found if len(found := look()) == count else None, timeout_s=20) or []


def both_run(count: int = 4) -> dict[int, list[uuid.UUID]]:
    """Naps that run, by the pid of their horse."""
    ids = [submit("test-nap", seconds=60) for _ in range(count)]
    all_reached(ids, "running")
    by_lease = {lease.pk: lease.horse_pid for lease in horses()}
    found: dict[int, list[uuid.UUID]] = {}
    for job_id in ids:
        found.setdefault(by_lease[reached(job_id, "running").lease_id], []).append(job_id)
    return found


@pytest.fixture
def worker(world: World) -> Process:
    return world.worker("--concurrency", "4", "--horses", "2")


def test_they_share_the_threads_and_the_name(world: World, worker: Process) -> None:
    found = horses()
    assert [lease.concurrency for lease in found] == [2, 2]
    assert len({lease.worker for lease in found}) == 1
    assert {len(ids) for ids in both_run().values()} == {2}
    fifth = echo()
    assert story(fifth) == ["submit"]


def test_a_kill_of_one_leaves_the_jobs_of_the_other_alone(world: World, worker: Process) -> None:
    running = both_run()
    killed, spared = running
    kill(killed)
    all_reached(running[killed], "running", timeout_s=30)
    eventually(lambda: Event.objects.filter(event="expire").count() == 2, timeout_s=20)
    for job_id in running[spared]:
        assert story(job_id) == ["submit", "start"]
    assert spared in [lease.horse_pid for lease in horses()]


def test_a_stop_is_for_both_and_lets_them_finish(world: World, worker: Process) -> None:
    horses()
    ids = [submit("test-finishing") for _ in range(4)]
    all_reached(ids, "running")
    pids = descendants(worker.pid)
    worker.send(signal.SIGTERM)
    assert worker.wait(20) == 0, worker.log
    all_reached(ids, "succeeded")
    assert all(is_gone(pid) for pid in pids)
    assert not Lease.objects.filter(revoked_at=None).exists()


def test_both_die_with_their_parent(world: World, worker: Process) -> None:
    pids = [lease.horse_pid for lease in horses()]
    kill(worker.pid)
    eventually(lambda: all(is_gone(pid) for pid in pids))


def test_one_that_somebody_tells_to_end_is_followed_by_another(world: World, worker: Process) -> None:
    """Rather than that the worker goes on with half of its threads, or ends."""
    eventually(lambda: worker.log.count("is ready") == 2, timeout_s=20)
    os.kill(horses()[1].horse_pid or 0, signal.SIGTERM)
    eventually(lambda: worker.log.count("is ready") == 3, timeout_s=40)
    assert len(horses()) == 2
    assert worker.is_alive


def test_a_burst_is_over_when_both_have_drained(world: World) -> None:
    ids = [echo() for _ in range(300)]
    code, log = world.run("rqworker", "--burst", "--concurrency", "4", "--horses", "2")
    assert code == 0, log
    all_reached(ids, "succeeded")
    assert Counter(Event.objects.values_list("event", flat=True)) == {"submit": 300, "start": 300, "succeed": 300}
    assert_lawful(world)


def test_a_number_of_jobs_is_kept_to(world: World) -> None:
    for _ in range(9):
        echo()
    code, log = world.run("rqworker", "--max-jobs", "5", "--concurrency", "4", "--horses", "2")
    assert code == 0, log
    assert Event.objects.filter(event="start").count() == 5


@pytest.mark.parametrize(
    ("options", "concurrencies"), [([], [30]), (["--horses", "2"], [15, 15]), (["JOBS_HORSES=3"], [10, 10, 10])]
)
def test_workers_of_a_pool_have_one_unless_told_otherwise(
    world: World, options: list[str], concurrencies: list[int]
) -> None:
    environment = dict(option.split("=") for option in options if "=" in option)
    arguments = [option for option in options if "=" not in option]
    echo()
    code, log = world.run("rqworker-pool", "--burst", "--concurrency", "30", *arguments, **environment)
    assert code == 0, log
    assert list(Lease.objects.values_list("concurrency", flat=True)) == concurrencies


@pytest.mark.parametrize("command", ["rqworker", "rqworker-pool"])
@pytest.mark.parametrize("number", ["0", "101", "x"])
def test_a_number_of_horses_that_cannot_be_is_said_so(world: World, command: str, number: str) -> None:
    code, log = world.run(command, "--horses", number)
    assert code == 2
    assert "--horses" in log


def most_at_once(ledger: Path) -> int:
    return max(accumulate(1 if word == "+" else -1 for word in ledger.read_text().split()))


def spin(ledger: Path, count: int, seconds: float = 0.02) -> list[uuid.UUID]:
    return [submit("test-spin", ledger=str(ledger), seconds=seconds) for _ in range(count)]


@pytest.fixture
def elastic(world: World) -> Process:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core is never worth two horses")
    return world.worker("--concurrency", "10", JOBS_HORSE_QUIET_S="3")


def test_another_comes_while_the_worker_is_busy_and_leaves_after(
    world: World, elastic: Process, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    (first,) = horses(1)
    ids = spin(ledger, 500)
    first, second = horses(2)
    eventually(lambda: Job.objects.filter(status="running", lease_id=second.pk).exists(), timeout_s=20)
    assert second.concurrency == 5
    all_reached(ids, "succeeded", timeout_s=60)
    assert [lease.pk for lease in horses(1)] == [first.pk]
    assert most_at_once(ledger) <= 10
    naps = [submit("test-nap", seconds=60) for _ in range(10)]
    all_reached(naps, "running")  # the first has all threads again
    assert Lease.objects.count() == 2
    assert_lawful(world)


def test_none_comes_while_jobs_hold_its_threads(world: World, elastic: Process, tmp_path: Path) -> None:
    naps = [submit("test-nap", seconds=60) for _ in range(8)]
    all_reached(naps, "running")
    ids = spin(tmp_path / "ledger", 150)
    all_reached(ids, "succeeded", timeout_s=60)
    assert Lease.objects.count() == 1
    assert "another horse comes" not in elastic.log


def test_the_first_killed_while_there_are_two_goes_on_with_its_share(
    world: World, elastic: Process, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    spin(ledger, 400)
    first, _ = horses(2)
    os.kill(first.horse_pid or 0, signal.SIGKILL)
    eventually(lambda: Lease.objects.count() == 3, timeout_s=20)
    assert Lease.objects.latest("created_at").concurrency == 5


def test_a_helping_one_that_dies_leaves_its_threads_to_the_first(
    world: World, elastic: Process, tmp_path: Path
) -> None:
    ids = spin(tmp_path / "ledger", 500)
    first, second = horses(2)
    os.kill(second.horse_pid or 0, signal.SIGKILL)
    all_reached(ids, "succeeded", timeout_s=60)
    assert [lease.pk for lease in horses(1)] == [first.pk]
    naps = [submit("test-nap", seconds=60) for _ in range(10)]
    all_reached(naps, "running")
    assert Lease.objects.count() == 2  # nor does another follow it at once
    assert_lawful(world)


def test_a_stop_while_another_starts_ends_both(world: World, elastic: Process, tmp_path: Path) -> None:
    spin(tmp_path / "ledger", 400)
    eventually(lambda: "another horse comes" in elastic.log, timeout_s=20)
    pids = descendants(elastic.pid)
    elastic.send(signal.SIGTERM)
    assert elastic.wait(20) == 0, elastic.log
    assert all(is_gone(pid) for pid in pids)
    assert not Lease.objects.filter(revoked_at=None).exists()
    assert not Job.objects.filter(status="running").exists()


@pytest.mark.parametrize(
    ("concurrency", "wanted", "cores", "most"),
    [(10, 0, 8, 2), (9, 0, 8, 1), (50, 0, 2, 2), (50, 0, 1, 1), (1000, 0, 4, 4), (10, 3, 1, 3), (2, 5, 8, 2)],
)
def test_how_many_there_may_be(
    monkeypatch: pytest.MonkeyPatch, concurrency: int, wanted: int, cores: int, most: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    options = Options(worker="w", queue_names=["default"], concurrency=concurrency)
    assert team.most_horses(options, wanted) == most
    assert team.most_horses(replace(options, max_jobs=9), wanted) == 1


@pytest.mark.parametrize(
    ("threads", "horses", "share"), [(10, 1, [10]), (26, 2, [13, 13]), (10, 3, [4, 3, 3]), (2, 2, [1, 1])]
)
def test_threads_are_shared_evenly(threads: int, horses: int, share: list[int]) -> None:
    assert team.shares(threads, horses) == share
