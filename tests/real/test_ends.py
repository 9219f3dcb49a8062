"""How a process ended tells nothing: handlers end theirs by every code, signal and trick, and pay for it themselves."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from jobs.models import Job
from tests.real.watching import budgets, echo, horse_pid, is_gone, live_lease, reached, starts, story, submit
from tests.support.eventually import eventually
from tests.support.world import World

QUICK = {"JOBS_STOP_GRACE_S": "1"}


def runs(ledger: Path) -> int:
    return len(ledger.read_text().split())


@pytest.mark.parametrize("how", ["0", "75", "abort", "exec", "close"])
@pytest.mark.parametrize("kind", ["test-end", "test-end-apart"])
def test_a_job_that_ends_its_process_is_charged_and_fails(world: World, tmp_path: Path, kind: str, how: str) -> None:
    worker = world.worker()
    innocent = submit("test-nap", seconds=2)
    reached(innocent, "running")
    ledger = tmp_path / "ledger"
    culprit = submit(kind, how=how, ledger=str(ledger))
    job = reached(culprit, "failed", timeout_s=90)
    assert (job.error_code, budgets(culprit), runs(ledger)) == ("crashed", (3, 0, 3), 3)
    reached(innocent, "succeeded", timeout_s=60)
    assert budgets(innocent)[2] <= (kind == "test-end")
    reached(echo(), "succeeded", timeout_s=60)
    assert worker.is_alive
    assert (f"job={culprit}" in worker.log) == (kind == "test-end")


def test_a_burst_goes_on_after_a_horse_that_ended_by_exit_code_0(world: World, tmp_path: Path) -> None:
    culprit = submit("test-end", how="0", ledger=str(tmp_path / "ledger"))
    others = [echo() for _ in range(5)]
    code, log = world.run("rqworker", "--burst", timeout_s=110)
    assert code == 0, log
    assert budgets(culprit)[2] >= 2, "one that was just put back may be left by a burst"
    assert all(Job.objects.get(pk=other).status == "succeeded" for other in others)


def test_a_forked_grandchild_does_not_answer_for_its_attempt(world: World, tmp_path: Path) -> None:
    world.worker()
    culprit = submit("test-end-apart", how="forked answer", ledger=str(tmp_path / "ledger"))
    assert reached(culprit, "failed", timeout_s=90).result is None
    assert budgets(culprit) == (3, 0, 3)


@pytest.mark.parametrize("kind", ["test-end", "test-end-apart"])
def test_what_only_looks_like_an_end_is_none(world: World, tmp_path: Path, kind: str) -> None:
    world.worker()
    horse = horse_pid()
    job = reached(submit(kind, how="harmless", ledger=str(tmp_path / "ledger")), "succeeded", timeout_s=60)
    assert job.result == "went on"
    assert horse_pid() == horse


def test_a_horse_that_somebody_tells_to_stop_is_followed_by_another(world: World) -> None:
    worker = world.worker()
    first = horse_pid()
    polite, stubborn = submit("test-finishing"), submit("test-nap", seconds=600, once=True)
    reached(polite, "running")
    reached(stubborn, "running")
    os.kill(first, signal.SIGTERM)
    reached(polite, "succeeded", timeout_s=60)
    assert starts(stubborn) == 1, "it has its grace"
    eventually(lambda: is_gone(first), timeout_s=60)
    reached(stubborn, "succeeded", timeout_s=60)
    assert story(stubborn) == ["submit", "start", "release", "start", "succeed"]
    assert budgets(stubborn) == (2, 0, 0)
    assert worker.is_alive


def test_a_burst_whose_horse_somebody_stops_is_done_all_the_same(world: World) -> None:
    held = submit("test-finishing")
    worker = world.manage("rqworker", "--burst", "--concurrency", "1")
    reached(held, "running")
    waiting = echo()
    os.kill(horse_pid(), signal.SIGTERM)
    assert worker.wait(60) == 0, worker.log
    assert Job.objects.get(pk=waiting).status == "succeeded"


@pytest.mark.parametrize("how", ["terminate and raise", "terminate and sleep"])
def test_a_job_that_terminates_its_process_each_time_ends(world: World, tmp_path: Path, how: str) -> None:
    worker = world.worker(**QUICK, JOBS_HARD_TIMEOUT_EXTRA_S="1")
    ledger = tmp_path / "ledger"
    job_id = Job.objects.get(pk=submit("test-end", how=how, ledger=str(ledger), timeout_s=2)).pk
    assert reached(job_id, "failed", timeout_s=100).failures == 5
    assert story(job_id)[:3] == ["submit", "start", "release"]
    assert story(job_id).count("release") <= 5  # one before each failure, which it has alone
    assert worker.is_alive


def test_a_helper_of_a_horse_that_is_killed_is_followed_and_its_attempts_go_on(world: World) -> None:
    world.worker()
    held = submit("test-isolated", seconds=3)
    reached(held, "running")
    horse = horse_pid()

    def server() -> int:
        found = Path(f"/proc/{horse}/task/{horse}/children").read_text().split()
        return int(found[0]) if found else 0

    first = eventually(server, timeout_s=20)
    eventually(lambda: Path(f"/proc/{first}/task/{first}/children").read_text(), timeout_s=30)
    os.kill(first, signal.SIGKILL)
    assert reached(submit("test-isolated"), "succeeded", timeout_s=60).crashes == 0
    assert reached(held, "succeeded", timeout_s=60).crashes == 0
    assert live_lease().horse_pid == horse
