"""What a handler leaves behind on its thread's connection is gone before the thread's next job."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.db.backends.signals import connection_created

from jobs.context import JobContext
from jobs.interrupts import Slot
from jobs.lifecycle import End, Status
from jobs.models import QueueState
from jobs.run import run
from tests.records.conftest import Register
from tests.support import lives

pytestmark = pytest.mark.django_db(transaction=True)


def pause_low() -> None:
    """A write, which takes SQLite's only lock."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO jobs_queuestate (name, paused_by) VALUES ('low', 'a handler') ON CONFLICT DO NOTHING"
        )


def leave_a_block_open() -> None:
    transaction.atomic().__enter__()
    pause_low()


def leave_a_block_open_and_close() -> None:
    leave_a_block_open()
    connection.close()


def leave_two_blocks_open() -> None:
    leave_a_block_open()
    leave_a_block_open()


def turn_autocommit_off() -> None:
    transaction.set_autocommit(False)
    pause_low()


def begin_in_plain_sql() -> None:
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
    pause_low()


def close_behind_djangos_back() -> None:
    connection.ensure_connection()
    connection.connection.close()


@pytest.mark.parametrize(
    "leave",
    [
        leave_a_block_open,
        leave_a_block_open_and_close,
        leave_two_blocks_open,
        turn_autocommit_off,
        begin_in_plain_sql,
        close_behind_djangos_back,
    ],
    ids=lambda leave: leave.__name__,
)
def test_a_handlers_open_transaction_is_rolled_back_and_its_thread_is_as_new(
    register: Register, leave: Callable[[], None]
) -> None:
    def leaving(job: JobContext, payload: dict[str, object]) -> None:
        leave()

    def careful(job: JobContext, payload: dict[str, object]) -> None:
        with job.effect("send"), transaction.atomic():
            pass

    assert lives.attempt(lives.submit(register(leaving))).status == Status.SUCCEEDED
    assert not connection.in_atomic_block
    assert not QueueState.objects.exists()
    job = lives.attempt(lives.submit(register(careful)))
    assert (job.status, job.error_message) == (Status.SUCCEEDED, None)


SESSION = {
    "a setting": ("SET search_path TO pg_catalog", "SHOW search_path"),
    "a time zone": ("SET TIME ZONE 'Asia/Tokyo'", "SHOW TimeZone"),
    "a role": ("SET ROLE pg_monitor", "SELECT current_user"),
    "an advisory lock": ("SELECT pg_advisory_lock(7)", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"),
    "a temporary table": (
        "CREATE TEMPORARY TABLE jobs_job (id int)",
        "SELECT count(*) FROM jobs_job WHERE attempt < 0",
    ),
    "our own time limits": ("SET lock_timeout TO 0", "SHOW lock_timeout"),
}


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite's sessions have no such state")
@pytest.mark.parametrize("what", SESSION)
def test_what_a_handler_does_to_its_session_is_gone_before_the_next_job(register: Register, what: str) -> None:
    change, ask = SESSION[what]

    def asked() -> object:
        with connection.cursor() as cursor:
            cursor.execute(ask)
            return cursor.fetchone()

    def changing(job: JobContext, payload: dict[str, object]) -> None:
        with connection.cursor() as cursor:
            cursor.execute(change)

    before = asked()
    backend = connection.connection.info.backend_pid
    assert lives.attempt(lives.submit(register(changing))).status == Status.SUCCEEDED
    assert asked() == before
    assert connection.connection.info.backend_pid == backend, "a new connection each time would hide it, and cost more"


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite's sessions have no such state")
def test_what_the_project_sets_in_each_new_session_is_set_for_each_attempt(register: Register) -> None:
    def begin_session(connection: Any, **_: Any) -> None:
        connection.connection.execute("SET work_mem TO '17MB'")

    def asking(job: JobContext, payload: dict[str, object]) -> object:
        with connection.cursor() as cursor:
            cursor.execute("SHOW work_mem")
            return cursor.fetchone()[0]

    handler = register(asking)
    connection.close()
    connection_created.connect(begin_session)
    try:
        assert [lives.attempt(lives.submit(handler)).result for _ in range(3)] == ["17MB"] * 3
    finally:
        connection_created.disconnect(begin_session)
        connection.close()


def refuse(*_: object) -> None:
    raise OperationalError("the database is away")


@pytest.mark.parametrize("method", ["get_new_connection", "init_connection_state", "is_usable"])
def test_a_database_that_is_away_after_a_handler_fails_nobody(
    register: Register, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Its own connection, or one of another database that an earlier job of the thread has used."""

    def leaving(job: JobContext, payload: dict[str, object]) -> int:
        if method == "get_new_connection":
            connection.close()
        else:
            connection.ensure_connection()
            connection.errors_occurred = method == "is_usable"
        monkeypatch.setattr(connections["default"], method, refuse)
        return 1

    claimed = lives.claim(lives.submit(register(leaving)))
    ended = run(claimed, lives.context_of(claimed), Slot(), lives.WATCH)
    monkeypatch.undo()
    assert (ended.end, ended.result) == (End.RETURNED, "1")


@pytest.mark.filterwarnings("ignore:.*fork")
@pytest.mark.parametrize(
    ("leave", "code"),
    [(lambda: sys.exit(3), 3), (lambda: sys.exit(), 0), (lambda: sys.exit("no"), 1), (lambda: 1 / 0, 1), (int, 0)],
    ids=["exit 3", "exit", "exit with words", "raise", "return"],
)
def test_a_process_that_a_handler_forks_ends_with_its_part_of_the_handler(
    register: Register, leave: Callable[[], object], code: int
) -> None:
    def forking(job: JobContext, payload: dict[str, object]) -> int:
        child = os.fork()
        if child == 0:
            leave()
            return 0
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    job = lives.attempt(lives.submit(register(forking)))
    assert (job.status, job.result, job.attempt) == (Status.SUCCEEDED, code, 1)


def alter_the_session() -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA synchronous = OFF")
            cursor.execute("PRAGMA query_only = ON")
        else:
            cursor.execute("SET synchronous_commit = off; SET default_transaction_read_only = on")


def session() -> tuple[str, ...]:
    names = (
        ("PRAGMA synchronous", "PRAGMA query_only")
        if connection.vendor == "sqlite"
        else ("SHOW synchronous_commit", "SHOW default_transaction_read_only")
    )
    with connection.cursor() as cursor:
        return tuple(str(cursor.execute(name).fetchone()[0]) for name in names)


def test_modes_of_the_session_end_with_the_attempt(register: Register) -> None:
    """Else the next one's effects would not be on the disk when they are begun, or could not be recorded at all."""
    before = session()
    lives.attempt(lives.submit(register(lambda job, payload: alter_the_session())))
    assert session() == before


def test_the_signal_mask_ends_with_the_attempt(register: Register) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    block = {signal.SIGTERM, signal.SIGUSR1} - before
    lives.attempt(lives.submit(register(lambda job, payload: signal.pthread_sigmask(signal.SIG_BLOCK, block) and None)))
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
