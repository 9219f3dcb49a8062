"""Processes that are killed: what ran in them runs again, soon and under one lease; effects are not repeated."""

from __future__ import annotations

import os
import signal
import time
import uuid
from pathlib import Path

import pytest
from django.db import connection

from jobs.models import Effect, Event, Job, Lease, LogLine
from tests.real.watching import (
    all_reached,
    budgets,
    descendants,
    echo,
    horse_pid,
    is_gone,
    kill,
    live_lease,
    reached,
    starts,
    story,
    submit,
)
from tests.support.eventually import eventually
from tests.support.world import World


def started_again(job_id: uuid.UUID, since: float, timeout_s: float = 30) -> float:
    """Seconds from `since` until the second attempt was seen running."""
    eventually(lambda: starts(job_id) == 2, timeout_s=timeout_s, every_s=0.01)
    return time.monotonic() - since


def test_after_a_kill_of_the_horse_its_job_runs_again_within_seconds(world: World) -> None:
    world.worker()
    job_id = echo(sleepSeconds=1)
    reached(job_id, "running")
    took_s = started_again(job_id, kill(horse_pid()))
    world.note(f"horse killed: its job ran again after {took_s:.2f} s")
    reached(job_id, "succeeded")
    assert story(job_id) == ["submit", "start", "expire", "start", "succeed"]
    assert budgets(job_id) == (2, 0, 1)
    assert took_s < 10  # its lease ends after fifteen; 0.6 s on a quiet machine


@pytest.mark.parametrize(
    ("on_doubt", "status", "lines"), [("hold", "in_doubt", 1), ("skip", "succeeded", 1), ("repeat", "succeeded", 2)]
)
def test_a_kill_inside_an_effect_follows_its_policy(world: World, on_doubt: str, status: str, lines: int) -> None:
    world.worker()
    job_id = echo(effect="charge", effectSleepSeconds=2, onDoubt=on_doubt)
    eventually(world.ledger, timeout_s=20)
    kill(horse_pid())
    assert reached(job_id, status, timeout_s=30).crashes == 1
    assert len(world.ledger()) == lines
    assert len({line[4] for line in world.ledger()}) == 1
    assert Effect.objects.get().status == ("in_doubt" if on_doubt == "hold" else "done")


def test_a_poison_job_is_failed_and_takes_no_innocent_with_it_twice(world: World) -> None:
    world.worker()
    innocents = [echo(sleepSeconds=1.5) for _ in range(9)]
    all_reached(innocents, "running")
    poison = echo(crashTimes=99)
    job = reached(poison, "failed", timeout_s=40)
    assert (job.error_code, budgets(poison)) == ("crashed", (3, 0, 3))
    all_reached(innocents, "succeeded", timeout_s=40)
    for innocent in innocents:
        _, failures, crashes = budgets(innocent)
        assert failures == 0
        assert crashes <= 1


def test_an_isolated_job_that_dies_of_a_signal_without_a_name_leaves_its_effect_in_doubt(world: World) -> None:
    world.worker()
    job_id = submit("test-isolated", signalInEffect=signal.SIGRTMIN + 1)
    assert reached(job_id, "in_doubt").crashes == 1
    assert Effect.objects.get().status == "in_doubt"


def test_a_horse_that_dies_of_a_signal_without_a_name_is_followed(world: World) -> None:
    world.worker()
    job_id = echo(sleepSeconds=1)
    reached(job_id, "running")
    os.kill(horse_pid(), signal.SIGRTMIN + 1)
    reached(job_id, "succeeded")
    assert story(job_id) == ["submit", "start", "expire", "start", "succeed"]


def test_an_isolated_job_that_dies_is_charged_alone_and_the_horse_lives(world: World) -> None:
    world.worker()
    horse = horse_pid()
    neighbour = echo(sleepSeconds=3)
    job_id = submit("test-isolated", crashTimes=2)
    job = reached(job_id, "succeeded")
    assert (job.result["attempt"], job.crashes) == (3, 2)
    reached(neighbour, "succeeded")
    assert budgets(neighbour) == (1, 0, 0)
    assert horse_pid() == horse


def test_the_horse_dies_with_its_parent_and_so_does_what_is_isolated(world: World) -> None:
    worker = world.worker()
    plain, apart = echo(sleepSeconds=60), submit("test-isolated", seconds=60)
    all_reached([plain, apart], "running")
    horse = horse_pid()
    eventually(lambda: LogLine.objects.filter(job_id=apart).exists(), timeout_s=20)
    inner = descendants(horse)
    assert len(inner) >= 2, "the forkserver and what it forked"
    worker.kill()

    def all_gone() -> bool:
        left = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in (horse, *inner) if not is_gone(pid)}
        assert not left
        return True

    eventually(all_gone, timeout_s=5)


def test_a_worker_killed_whole_is_repaired_by_another_one_within_two_seconds(world: World) -> None:
    first = world.worker("--name", "first")
    lease = live_lease("first")
    world.worker("--name", "second")
    ids = [echo(sleepSeconds=1) for _ in range(20)]
    held = eventually(lambda: list(Job.objects.filter(lease=lease, status="running")))
    os.kill(lease.horse_pid, signal.SIGKILL)
    first.kill()
    at = time.monotonic()
    eventually(lambda: not Job.objects.filter(lease=lease, status="running").exists(), timeout_s=20)
    took_s = time.monotonic() - at
    world.note(f"worker killed whole: its jobs were queued again after {took_s:.2f} s")
    assert took_s < 10  # its lease ends after fifteen; at most one turn of housekeeping, each second, and the machine
    all_reached(ids, "succeeded", timeout_s=40)
    assert held
    for job in held:
        assert budgets(job.id)[2] == 1


def test_a_horse_that_cannot_be_seen_is_taken_for_dead_after_its_lease(world: World) -> None:
    short = {"JOBS_LEASE_S": "5", "JOBS_RENEW_S": "1"}  # instead of 15 and 3
    first = world.worker("--name", "first", **short)
    job_id = submit("test-nap", seconds=60, once=True)
    lease = live_lease("first")
    reached(job_id, "running")
    world.worker("--name", "stranger", PRETEND_STRANGER="1", **short)
    first.kill()
    at = time.monotonic()
    took_s = started_again(job_id, at)
    world.note(f"worker killed, unseen, lease of 5 s: run again after {took_s:.2f} s")
    assert took_s > 3
    assert Lease.objects.get(pk=lease.pk).revoked_by == "stranger"
    reached(job_id, "succeeded")
    assert Event.objects.get(job_id=job_id, event="expire").actor == "housekeeping"


def test_what_a_handler_started_is_ended_though_its_worker_was_killed_whole(world: World) -> None:
    first = world.worker("--name", "first")
    lease = live_lease("first")
    job_id = submit("test-spawn")
    reached(job_id, "running")
    child = eventually(lambda: descendants(lease.horse_pid))[0]
    world.worker("--name", "second")
    first.kill()
    eventually(lambda: is_gone(child), timeout_s=20)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="only SQLite has a single write lock")
def test_a_job_that_holds_the_only_write_lock_pays_for_it_and_ends(world: World) -> None:
    world.worker(JOBS_LEASE_S="3", JOBS_RENEW_S="1")  # shortened from 15 and 3
    job_id = submit("test-holding", seconds=8)
    job = reached(job_id, "failed", timeout_s=60)
    assert (job.crashes, job.error_code) == (3, "crashed")
    assert story(job_id).count("release") == 0
