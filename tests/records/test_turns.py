"""Writers of SQLite take turns: nobody writes twice while somebody waits, and whoever dies is not waited for."""

from __future__ import annotations

import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.db import OperationalError, connection, transaction

from jobs.sqlite3.base import Connection, Cursor
from jobs.sqlite3.turns import Turns, turns_of
from tests.support import sandbox

TAKE_AND_TELL = """
import sys
from pathlib import Path
from jobs.sqlite3.turns import turns_of
turns = turns_of(Path(sys.argv[1]))
assert turns.take(5)
print("mine", flush=True)
sys.stdin.read()
"""
WRITE_ON_AND_ON = """
import os, sys, time
from pathlib import Path
from jobs.sqlite3.turns import turns_of
turns = turns_of(Path(sys.argv[1]))
file = os.open(sys.argv[1], os.O_WRONLY)
for count in range(10**9):
    assert turns.take(5)
    time.sleep(0.001)
    os.pwrite(file, b"%08d" % count, 0)
    turns.give()
    if not count:
        print("begun", flush=True)
"""
TRIES, MOST = 21, 5
"""Of so many tries at least half see no more than so many turns of a busy writer pass. A stranger to the queue sees hundreds."""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "some.sqlite3"
    path.touch()
    return path


@pytest.fixture
def begin(database: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start a process with a script of the above; it has had its first turn."""
    processes = []

    def begin(script: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def open_with_turns(database: Path, timeout_s: float) -> Connection:
    opened = sqlite3.connect(database, factory=Connection, isolation_level=None, timeout=timeout_s)
    opened.turns, opened.timeout_s = turns_of(database), timeout_s
    return opened


def test_another_process_is_waited_for_and_not_for_ever(
    database: Path, begin: Callable[[str], subprocess.Popen[str]]
) -> None:
    holder = begin(TAKE_AND_TELL)
    assert not turns_of(database).take(0.05)
    holder.communicate()
    assert turns_of(database).take(5)
    turns_of(database).give()


def test_a_process_that_is_killed_in_its_turn_has_none(
    database: Path, begin: Callable[[str], subprocess.Popen[str]]
) -> None:
    holder = begin(TAKE_AND_TELL)
    holder.send_signal(signal.SIGKILL)
    assert turns_of(database).take(5)
    turns_of(database).give()


def passed_while_waiting(turns: Turns, count: Callable[[], int]) -> float:
    """How many turns of somebody else begin and end while we wait for ours: the median of some tries."""
    passed = []
    for _ in range(TRIES):
        before = count()
        assert turns.take(5)
        passed.append(count() - before)
        turns.give()
        while count() <= before + 10:
            time.sleep(0.001)
    return statistics.median(passed)


def test_who_waits_comes_before_a_busy_process(database: Path, begin: Callable[[str], subprocess.Popen[str]]) -> None:
    begin(WRITE_ON_AND_ON)
    assert passed_while_waiting(turns_of(database), lambda: int(database.read_bytes() or 0)) <= MOST


def test_who_waits_comes_before_a_busy_thread(database: Path) -> None:
    turns = turns_of(database)
    count, is_over = 0, threading.Event()

    def write() -> None:
        nonlocal count
        while not is_over.is_set():
            assert turns.take(5)
            time.sleep(0.001)
            count += 1
            turns.give()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert passed_while_waiting(turns, lambda: count) <= MOST
    finally:
        is_over.set()
        thread.join()


def test_a_forked_process_has_not_the_turn_of_its_parent(database: Path) -> None:
    assert turns_of(database).take(5)
    pid = os.fork()
    if not pid:
        os._exit(int(turns_of(database).take(0.05)))
    assert os.waitpid(pid, 0)[1] == 0
    turns_of(database).give()


def test_a_statement_and_a_transaction_take_one_turn_each(database: Path) -> None:
    one, other = open_with_turns(database, 5), open_with_turns(database, 0.05)
    cursor = one.cursor(factory=Cursor)
    cursor.execute("CREATE TABLE t (x)")
    cursor.execute("BEGIN IMMEDIATE")
    cursor.execute("INSERT INTO t VALUES (1)")
    assert one.is_my_turn
    with pytest.raises(sqlite3.OperationalError, match="database is locked"):
        other.cursor(factory=Cursor).execute("INSERT INTO t VALUES (2)")
    one.commit()
    assert not one.is_my_turn
    other.cursor(factory=Cursor).execute("INSERT INTO t VALUES (2)")
    assert not other.is_my_turn
    assert one.execute("SELECT count(*) FROM t").fetchone() == (2,)


@pytest.mark.parametrize("end", [Connection.rollback, Connection.close])
def test_however_a_transaction_ends_the_turn_is_over(database: Path, end: Callable[[Connection], None]) -> None:
    one = open_with_turns(database, 5)
    one.cursor(factory=Cursor).execute("BEGIN IMMEDIATE")
    end(one)
    assert turns_of(database).take(0)
    turns_of(database).give()


def test_a_transaction_that_cannot_begin_gives_its_turn_back(database: Path) -> None:
    stranger = sqlite3.connect(database, isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match="database is locked"):
        open_with_turns(database, 0.05).cursor(factory=Cursor).execute("BEGIN IMMEDIATE")
    assert turns_of(database).take(0)
    turns_of(database).give()
    stranger.close()


@pytest.mark.skipif(sandbox.chosen_database() != "sqlite", reason="only SQLite has one writer")
@pytest.mark.django_db(transaction=True)
def test_the_project_s_own_database_has_turns() -> None:
    with transaction.atomic():
        assert connection.connection.is_my_turn
        with pytest.raises(RuntimeError), transaction.atomic():
            raise RuntimeError
        assert connection.connection.is_my_turn
    assert not connection.connection.is_my_turn


@pytest.mark.skipif(sandbox.chosen_database() != "sqlite", reason="only SQLite has one writer")
@pytest.mark.django_db(transaction=True)
def test_a_transaction_whose_turn_does_not_come_is_an_operational_error(
    begin: Callable[[str], subprocess.Popen[str]], database: Path
) -> None:
    begin(TAKE_AND_TELL)
    connection.ensure_connection()
    own, own_timeout_s = connection.connection.turns, connection.connection.timeout_s
    connection.connection.turns, connection.connection.timeout_s = turns_of(database), 0.05
    try:
        with pytest.raises(OperationalError, match="database is locked"), transaction.atomic():
            pass
    finally:
        connection.connection.turns, connection.connection.timeout_s = own, own_timeout_s
