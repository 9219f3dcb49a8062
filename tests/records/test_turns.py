"""Writers of SQLite take turns: nobody writes twice while somebody waits, and whoever dies is not waited for."""

from __future__ import annotations

import ctypes
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
from django.db import OperationalError, connection, transaction

from jobs.errors import SoftTimeout
from jobs.sqlite3.base import Connection, Cursor
from jobs.sqlite3.turns import Turns, turns_of
from tests.support import sandbox
from tests.support.eventually import eventually

T = TypeVar("T")

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
        assert process.stdout.readline()
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def elsewhere(call: Callable[[], T]) -> T:
    """What it returns, or raises, in another thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def open_with_turns(database: Path, timeout_s: float) -> Connection:
    opened = sqlite3.connect(
        database, factory=Connection, isolation_level=None, timeout=timeout_s, check_same_thread=False
    )
    opened.turns = turns_of(database)
    return opened


def test_another_process_is_waited_for_and_not_for_ever(
    database: Path, begin: Callable[[str], subprocess.Popen[str]]
) -> None:
    holder = begin(TAKE_AND_TELL)
    assert not turns_of(database).take(0.05)
    turns_of(database).give()
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
    assert turns_of(database).is_mine

    def write() -> None:
        with pytest.raises(sqlite3.OperationalError, match="database is locked"):
            other.cursor(factory=Cursor).execute("INSERT INTO t VALUES (2)")

    elsewhere(write)
    one.commit()
    assert not turns_of(database).is_mine
    other.cursor(factory=Cursor).execute("INSERT INTO t VALUES (2)")
    assert not turns_of(database).is_mine
    assert one.execute("SELECT count(*) FROM t").fetchone() == (2,)


def test_whoever_is_interrupted_while_it_waits_stands_in_nobodys_way(
    database: Path, begin: Callable[[str], subprocess.Popen[str]]
) -> None:
    """As a handler by its soft timeout, which may arrive anywhere."""
    holder = begin(TAKE_AND_TELL)
    idents: list[int] = []

    def write() -> None:
        idents.append(threading.get_ident())
        with pytest.raises(SoftTimeout):
            open_with_turns(database, 30).cursor(factory=Cursor).execute("BEGIN IMMEDIATE")

    thread = threading.Thread(target=write)
    thread.start()
    eventually(lambda: is_waited_for(turns_of(database)))
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(idents[0]), ctypes.py_object(SoftTimeout))
    thread.join()
    holder.communicate()
    begin(TAKE_AND_TELL).communicate()
    assert turns_of(database).take(0)
    turns_of(database).give()


def is_waited_for(turns: Turns) -> bool:
    """Whether another thread of this process holds the first of the locks."""
    if turns._next.acquire(blocking=False):
        turns._next.release()
        return False
    return True


def test_what_an_interrupt_left_behind_is_found_again(database: Path) -> None:
    """It may come between the step that takes something and the one that would have noted it."""
    turns = turns_of(database)
    for left in (turns._next.acquire, turns._turn.acquire, partial(turns.take, 5)):
        left()
        open_with_turns(database, 5).give_turn()
        assert not turns.is_mine
        assert elsewhere(lambda: (turns.take(0), turns.give())[0])


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
        assert connection.connection.turns.is_mine
        with pytest.raises(RuntimeError), transaction.atomic():
            raise RuntimeError
        assert connection.connection.turns.is_mine
    assert not connection.connection.turns.is_mine


@pytest.mark.skipif(sandbox.chosen_database() != "sqlite", reason="only SQLite has one writer")
@pytest.mark.django_db(transaction=True)
def test_a_transaction_whose_turn_does_not_come_is_an_operational_error(
    begin: Callable[[str], subprocess.Popen[str]], database: Path
) -> None:
    begin(TAKE_AND_TELL)
    connection.ensure_connection()
    connection.connection.turns = turns_of(database)
    connection.connection.execute("PRAGMA busy_timeout = 50")
    try:
        with pytest.raises(OperationalError, match="database is locked"), transaction.atomic():
            pass
    finally:
        connection.close()
