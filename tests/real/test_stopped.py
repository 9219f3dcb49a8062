"""Processes that are stopped longer than their lease, then continued: they never finish what others took over.

Leases are shortened to 4 s here, so that a test need not wait for 15.
"""

from __future__ import annotations

import os
import signal
import time

import pytest

from jobs.models import Event, Job, Lease
from tests.real.watching import echo, is_gone, live_lease, reached, starts, story
from tests.support.eventually import eventually
from tests.support.world import World

SHORT = {"JOBS_LEASE_S": "4", "JOBS_RENEW_S": "1"}


@pytest.mark.parametrize("stopped", ["horse", "parent", "both"])
@pytest.mark.parametrize("helper", ["stranger", "none"])
def test_what_is_stopped_too_long_is_killed_and_its_job_runs_elsewhere_once(
    world: World, stopped: str, helper: str
) -> None:
    if helper == "none" and stopped != "horse":
        pytest.skip("the parent is gone then, and nobody is left")
    worker = world.worker("--name", "first", **SHORT)
    lease = live_lease("first")
    job_id = echo(effect="charge", effectSleepSeconds=60, onDoubt="skip")
    eventually(world.ledger, timeout_s=20)
    if helper == "stranger":
        world.worker("--name", "second", PRETEND_STRANGER="1", **SHORT)
    pids = {"horse": [lease.horse_pid], "parent": [worker.pid], "both": [worker.pid, lease.horse_pid]}[stopped]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    at = time.monotonic()
    eventually(lambda: is_gone(lease.horse_pid), timeout_s=12)
    gone_s = time.monotonic() - at
    world.note(f"{stopped} stopped, lease of 4 s: the horse was killed after {gone_s:.2f} s")
    assert gone_s < 5  # before anybody may take the lease for dead
    if stopped != "horse":
        assert worker.wait(5) == -signal.SIGKILL  # the kernel's timer: nobody else could
    assert reached(job_id, "succeeded", timeout_s=30).attempt == 2
    assert len(world.ledger()) == 1
    assert Lease.objects.get(pk=lease.pk).revoked_at is not None
    if stopped == "horse":
        assert story(job_id).count("release") == 1  # killed on purpose: nobody is charged
        assert Job.objects.get(pk=job_id).crashes == 0


def test_a_short_stop_is_forgiven(world: World) -> None:
    world.worker(**SHORT)
    lease = live_lease()
    job_id = echo(sleepSeconds=3)
    reached(job_id, "running")
    os.kill(lease.horse_pid, signal.SIGSTOP)
    eventually(lambda: Lease.objects.get(pk=lease.pk).renewed_at, timeout_s=1)
    time.sleep(1)  # the length of the stop is what this is about
    os.kill(lease.horse_pid, signal.SIGCONT)
    assert reached(job_id, "succeeded").attempt == 1
    assert live_lease().pk == lease.pk


def test_a_horse_whose_lease_was_revoked_records_nothing_more(world: World) -> None:
    world.worker()
    lease = live_lease()
    job_id = echo(sleepSeconds=2)
    reached(job_id, "running")
    os.kill(lease.horse_pid, signal.SIGSTOP)
    Lease.objects.filter(pk=lease.pk).update(revoked_at="2026-01-01T00:00:00Z", revoked_by="test")
    eventually(lambda: starts(job_id) == 2, timeout_s=20)  # housekeeping moved it, and the next horse has it
    reached(job_id, "succeeded")
    assert is_gone(lease.horse_pid)
    ends = Event.objects.filter(job_id=job_id, event="succeed")
    assert [end.attempt for end in ends] == [2]
