"""A worker on a host that nobody can look at dies whole: its jobs run elsewhere, by its lease alone."""

from __future__ import annotations

import os
import signal
import time

import pytest

from jobs.models import Lease
from tests.real.watching import all_reached, assert_lawful, budgets, live_lease, starts, submit
from tests.support.eventually import eventually
from tests.support.world import World

BOUND_S = 20.0


@pytest.mark.slow
def test_jobs_of_a_worker_on_another_host_run_again_within_twenty_seconds(world: World) -> None:
    first = world.worker("--name", "first")
    ids = [submit("test-nap", seconds=600, once=True) for _ in range(5)]
    all_reached(ids, "running")
    lease = live_lease("first")
    assert lease.horse_pid is not None
    world.worker("--name", "stranger", PRETEND_STRANGER="1")
    eventually(lambda: Lease.objects.get(pk=lease.pk).beat > lease.beat, timeout_s=10)  # the longest wait begins here
    os.kill(lease.horse_pid, signal.SIGKILL)
    first.kill()
    at = time.monotonic()
    eventually(lambda: all(starts(job_id) == 2 for job_id in ids), timeout_s=60)
    took_s = time.monotonic() - at
    world.note(f"worker on another host killed, leases of 15 s: its jobs ran again after {took_s:.1f} s")
    assert took_s < BOUND_S
    all_reached(ids, "succeeded")
    assert Lease.objects.get(pk=lease.pk).revoked_by == "stranger"
    assert {budgets(job_id) for job_id in ids} == {(2, 0, 1)}
    assert_lawful(world)
