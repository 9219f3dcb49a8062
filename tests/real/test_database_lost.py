"""The database cut off, restarted or locked while jobs run: nobody is rescued wrongly, every outcome is recorded once."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator

import pytest
from django.db import connection, connections

from jobs.models import Lease
from tests.real.watching import all_reached, budgets, echo, live_lease, reached, story
from tests.support import postgres, sandbox
from tests.support.world import World

on_postgres = pytest.mark.skipif(sandbox.chosen_database() != "postgres", reason="PostgreSQL's own faults")
on_sqlite = pytest.mark.skipif(sandbox.chosen_database() != "sqlite", reason="SQLite's own lock")


@pytest.fixture
def server() -> Iterator[postgres.PostgresServer]:
    found = postgres.server(sandbox.folder())
    yield found
    if not found.is_running:
        found.start()
    connections.close_all()


def cut_every_other_connection() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return int(cursor.fetchone()[0])


@on_postgres
def test_cut_connections_cost_no_job_a_crash_and_no_effect_its_record(
    world: World, server: postgres.PostgresServer
) -> None:
    world.worker()
    lease = live_lease()
    plain = [echo(sleepSeconds=0.5 + n / 20) for n in range(15)]
    with_effect = [echo(effect="charge", effectSleepSeconds=0.5 + n / 20) for n in range(15)]
    for _ in range(6):
        cut_every_other_connection()
        time.sleep(0.25)  # between two strikes, so that they hit different moments
    all_reached([*plain, *with_effect], "succeeded", timeout_s=40)
    assert live_lease().pk == lease.pk
    assert {budgets(job_id)[2] for job_id in (*plain, *with_effect)} == {0}
    assert {tuple(story(job_id)) for job_id in plain} == {("submit", "start", "succeed")}
    assert len(world.ledger()) == 15


@pytest.fixture
def read_only() -> Iterator[Callable[[bool], None]]:
    """Makes the server what a failover leaves of it: it answers everybody, and commits for nobody."""

    def set_to(is_on: bool) -> None:
        with connection.cursor() as cursor:
            name = connection.ops.quote_name(connection.settings_dict["NAME"])
            cursor.execute("SET default_transaction_read_only = off")
            cursor.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {'on' if is_on else 'off'}")
        cut_every_other_connection()

    yield set_to
    set_to(False)


@on_postgres
def test_a_server_that_became_read_only_costs_no_job_anything(world: World, read_only: Callable[[bool], None]) -> None:
    world.serve()
    worker = world.worker()
    lease = live_lease()
    ids = [echo(sleepSeconds=1, effect="charge") for _ in range(5)]
    all_reached(ids, "running")
    read_only(True)
    refused = world.call("POST", "/api/jobs", {"type": "echo", "idempotencyKey": "k"})
    assert (refused.status, refused.json()["code"]) == (503, "database-unavailable")
    assert "retry-after" in refused.headers
    assert world.call("GET", f"/api/jobs/{ids[0]}").status == 200
    worker.says("the database did not commit", timeout_s=20)  # an outcome had to wait
    read_only(False)
    assert world.call("POST", "/api/jobs", {"type": "echo", "idempotencyKey": "k"}).status == 202
    all_reached(ids, "succeeded", timeout_s=40)
    assert live_lease().pk == lease.pk
    for job_id in ids:
        assert story(job_id) == ["submit", "start", "succeed"]
    assert len(world.ledger()) == 5
    reached(echo(), "succeeded")


@on_postgres
@pytest.mark.parametrize("how", ["fast", "crash"])
def test_a_restarted_server_costs_no_job_anything(world: World, server: postgres.PostgresServer, how: str) -> None:
    worker = world.worker()
    lease = live_lease()
    ids = [echo(sleepSeconds=1.5) for _ in range(15)]
    all_reached(ids[:10], "running")
    connections.close_all()
    (server.stop if how == "fast" else server.crash)()
    worker.says("the database did not commit", timeout_s=20)  # an outcome had to wait
    server.start()
    all_reached(ids, "succeeded", timeout_s=40)
    assert live_lease().pk == lease.pk
    for job_id in ids:
        assert story(job_id) == ["submit", "start", "succeed"]
    reached(echo(), "succeeded")


@on_postgres
def test_an_outage_longer_than_the_lease_ends_the_horse_and_charges_nobody(world: World, server: postgres.PostgresServer) -> None:  # fmt: skip
    worker = world.worker(JOBS_LEASE_S="4", JOBS_RENEW_S="1")  # shortened from 15 and 3
    lease = live_lease()
    job_id = echo(sleepSeconds=8)
    reached(job_id, "running")
    connections.close_all()
    server.stop()
    worker.says("cannot be renewed", timeout_s=20)
    worker.says("to take back jobs", timeout_s=20)
    server.start()
    reached(job_id, "succeeded", timeout_s=40)
    assert story(job_id) == ["submit", "start", "release", "start", "succeed"]
    assert budgets(job_id) == (2, 0, 0)
    assert Lease.objects.get(pk=lease.pk).revoked_at is not None


@on_sqlite
@pytest.mark.parametrize("seconds", [3])
def test_a_locked_database_is_waited_for(world: World, seconds: float) -> None:
    world.worker()
    lease = live_lease()
    ids = [echo(sleepSeconds=0.5, effect="charge") for _ in range(5)]
    all_reached(ids, "running")
    other = sqlite3.connect(sandbox.folder() / "test.sqlite3", isolation_level=None, timeout=20)
    other.execute("BEGIN IMMEDIATE")
    time.sleep(seconds)
    other.execute("ROLLBACK")
    other.close()
    all_reached(ids, "succeeded")
    assert live_lease().pk == lease.pk
    for job_id in ids:
        assert story(job_id) == ["submit", "start", "succeed"]
    assert len(world.ledger()) == 5
