"""A worker that is taken for dead while it lives: its jobs go on elsewhere at once, and it finishes none of them."""

from __future__ import annotations

import os
import signal
import time

import jobs
from jobs import leases
from jobs.lifecycle import Actor
from jobs.models import Job
from tests.real.watching import all_reached, echo, live_lease, reached, story
from tests.support.world import World


def test_a_suspected_worker_hinders_nobody_and_finishes_nothing(world: World) -> None:
    first = world.worker("high", "default", "--name", "first")
    world.worker("default", "--name", "second")
    lease = live_lease("first")
    live_lease("second")
    ids = [jobs.submit("echo", {"sleepSeconds": 6}, queue="high").id for _ in range(4)]  # only the first one serves it
    all_reached(ids, "running")
    os.kill(first.pid, signal.SIGSTOP)  # so that it does not notice, and its horse goes on
    at = time.monotonic()
    leases.end_lease(lease.id, leases.crashed("suspected, wrongly"), actor=Actor.HOUSEKEEPING, who="test")
    after = [echo() for _ in range(12)]  # its horse must not swallow these
    all_reached(after, "succeeded")
    took_s = time.monotonic() - at
    world.note(f"a worker suspected wrongly: what came after ran within {took_s:.2f} s")
    assert took_s < 4  # less than the margin after which a lost id is pushed again
    os.kill(first.pid, signal.SIGCONT)
    world.worker("high", "--name", "third")
    for job_id in ids:
        assert reached(job_id, "succeeded", timeout_s=60).result["attempt"] == 2
        assert story(job_id) == ["submit", "start", "expire", "start", "succeed"]
    assert not Job.objects.filter(failures__gt=0).exists()
