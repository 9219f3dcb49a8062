"""Threads that a handler leaves behind stop nobody, and nobody else pays for them."""

from __future__ import annotations

import pytest
from django.db import connection

from jobs.models import Job
from tests.real.watching import echo, horse_pid, reached, submit
from tests.support.world import World


@pytest.mark.parametrize("is_beside", [True, False])
def test_a_thread_that_is_left_with_a_transaction_stops_nobody(world: World, is_beside: bool) -> None:
    """Nor is anybody charged for it: beside it an innocent runs, begun before or after."""
    worker = world.worker("--horses", "1")
    horse = horse_pid()
    early = submit("test-nap", seconds=20) if is_beside else None
    if early is not None:
        reached(early, "running")
    culprit = submit("test-thread-holds")
    late = echo(sleepSeconds=1)
    reached(culprit, "succeeded", timeout_s=60)
    reached(late, "succeeded", timeout_s=60)
    if early is not None:
        assert reached(early, "succeeded", timeout_s=90).attempt == 1
    assert horse_pid() == horse
    assert not Job.objects.exclude(crashes=0).exists()
    if connection.vendor == "sqlite":
        assert "thread=left-over" in worker.log
