"""Rows that somebody else has locked, beside real workers: an operator's open transaction, what a killed process left.

PostgreSQL only: SQLite has no locks of rows.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator

import psycopg
import pytest
from django.db import connection

from jobs.models import Job
from tests.real.watching import all_reached, budgets, echo, horse_pid, reached, starts, story, submit
from tests.support import sandbox
from tests.support.eventually import eventually
from tests.support.world import World

pytestmark = pytest.mark.skipif(sandbox.chosen_database() != "postgres", reason="SQLite has no locks of rows")


@contextlib.contextmanager
def locked(*ids: uuid.UUID) -> Iterator[None]:
    found = connection.settings_dict
    with psycopg.connect(host=found["HOST"], port=found["PORT"], user=found["USER"], dbname=found["NAME"]) as other:
        other.execute("SELECT 1 FROM jobs_job WHERE id = ANY(%s) FOR UPDATE", [list(ids)])
        yield
        other.rollback()


def test_a_job_whose_row_an_operator_holds_is_recorded_later_and_delays_nobody(world: World) -> None:
    """Its thread goes on with other jobs, though it is the only one."""
    world.worker("--concurrency", "1", "--horses", "1")
    horse = horse_pid()
    held = echo(sleepSeconds=1)
    reached(held, "running")
    with locked(held):
        others = [echo() for _ in range(20)]
        all_reached(others, "succeeded")
        assert Job.objects.get(pk=held).status == "running"
    reached(held, "succeeded")
    assert starts(held) == 1
    assert horse_pid() == horse


def test_a_stop_while_a_row_is_locked_charges_nobody_and_housekeeping_finishes_it(world: World) -> None:
    worker = world.worker(JOBS_STOP_GRACE_S="1")
    held, other = echo(sleepSeconds=600), echo(sleepSeconds=600)
    all_reached([held, other], "running")
    with locked(held):
        assert worker.stop() == 0
        assert story(other) == ["submit", "start", "release"]
        assert Job.objects.get(pk=held).status == "running"
        world.worker("--name", "second")
    eventually(lambda: "release" in story(held))
    assert budgets(held)[1:] == budgets(other)[1:] == (0, 0)
    assert "expire" not in story(held)


def test_what_a_killed_attempt_left_on_the_server_holds_its_row_for_seconds_only(world: World) -> None:
    world.worker(JOBS_HARD_TIMEOUT_EXTRA_S="1")
    long = submit("test-long-sql", seconds=600, timeout_s=1)
    eventually(lambda: Job.objects.get(pk=long).error_code == "timeout", timeout_s=60)
    assert budgets(long)[1:] == (1, 0)
    all_reached([echo() for _ in range(5)], "succeeded")
