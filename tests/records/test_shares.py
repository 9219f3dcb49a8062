"""A horse's share of its worker's threads: what both sides say, and that no more run than were granted."""

from __future__ import annotations

import queue as queues
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from django.db.backends.signals import connection_created

import jobs
from jobs import leases, transitions
from jobs.board import Board
from jobs.context import JobContext
from jobs.grant import BUSY, Grant
from jobs.handling import Handlers
from jobs.share import Share
from jobs.window import Window
from tests.support.eventually import eventually

Begun = Callable[[int], tuple[Grant, socket.socket]]


@pytest.fixture(autouse=True)
def watched_no_longer() -> Iterator[None]:
    """Handlers watch the transactions of other threads as long as their process lives, here those of later tests."""
    before = connection_created.receivers[:]
    yield
    for receiver in connection_created.receivers[:]:
        if receiver not in before:
            connection_created.receivers.remove(receiver)
    connection_created.sender_receivers_cache.clear()


@pytest.fixture
def begun() -> Iterator[Begun]:
    """A grant of so many threads, and the horse's end of its channel."""
    with ExitStack() as stack:

        def begin(threads: int) -> tuple[Grant, socket.socket]:
            grant = Grant(threads)
            assert grant.is_kept, "there is no horse yet"
            assert grant.begin() == threads
            theirs = stack.enter_context(grant.connect())
            Board.borrow(theirs)
            theirs.setblocking(False)
            stack.callback(grant.end)
            return grant, theirs

        yield begin


def test_what_is_taken_away_counts_until_the_horse_has_said_so(begun: Begun) -> None:
    grant, horse = begun(5)
    grant.threads = 3
    grant.look()
    assert horse.recv(16) == b"3"
    assert (grant.holds, grant.is_kept) == (5, False)
    horse.send(b"5")  # of an earlier number
    grant.look()
    assert not grant.is_kept
    horse.send(b"3")
    grant.look()
    assert (grant.holds, grant.is_kept) == (3, True)
    with pytest.raises(BlockingIOError):
        horse.recv(16)  # nothing is said twice


def test_what_is_given_counts_at_once(begun: Begun) -> None:
    grant, horse = begun(3)
    grant.threads = 5
    grant.look()
    assert (horse.recv(16), grant.holds) == (b"5", 5)
    grant.threads = 3
    assert not grant.is_kept


def test_the_end_of_a_horse_gives_all_back_and_the_next_begins_with_what_it_may(begun: Begun) -> None:
    grant, horse = begun(5)
    grant.threads = 2
    horse.close()
    grant.look()
    assert not grant.is_kept
    grant.end()
    assert (grant.holds, grant.is_kept) == (0, True)
    assert grant.begin() == 2


def test_a_horse_is_busy_for_a_while_after_it_said_so(begun: Begun, monkeypatch: pytest.MonkeyPatch) -> None:
    grant, horse = begun(5)
    assert not grant.is_busy
    horse.send(BUSY)
    grant.look()
    assert grant.is_busy
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 3)
    assert not grant.is_busy


@pytest.mark.django_db
def test_no_more_attempts_run_than_were_granted_once_the_horse_says_so(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    inbox: queues.SimpleQueue[Any] = queues.SimpleQueue()
    handlers = Handlers(8, inbox, threading.Event(), Board())
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    share = Share(queues.SimpleQueue(), handlers, Window(8), theirs)
    ids = [jobs.submit("test-spin", {"ledger": str(ledger), "seconds": 0.002}).id for _ in range(400)]
    lease_id = leases.open_lease(kind="horse", worker="test", queue_names=["default"], concurrency=8)
    claimed = transitions.claim(ids, lease_id=lease_id, worker="test")
    handlers.take([(one, JobContext(one.row, threading.Event())) for one in claimed])

    def running() -> list[int]:
        words = ledger.read_text().split() if ledger.exists() else []
        return list(accumulate(1 if word == "+" else -1 for word in words))

    def said() -> bytes:
        share.look(0, 1)
        try:
            return ours.recv(16)
        except BlockingIOError:
            return b""

    def granted(threads: int) -> int:
        """How long the ledger was when the horse had said that no more than so many run."""
        share.take(threads)
        assert eventually(lambda: [word for word in iter(said, b"") if word != BUSY], every_s=0.001) == [
            b"%d" % threads
        ]
        return len(running())

    eventually(lambda: len(running()) > 50, every_s=0.001)
    fewer_from = granted(3)
    eventually(lambda: len(running()) > fewer_from + 100, every_s=0.001)
    fewer_until = len(running())
    granted(8)
    eventually(lambda: len(running()) > fewer_until + 100, every_s=0.001)
    one_from = granted(1)
    eventually(lambda: inbox.qsize() == len(ids))
    assert max(running()) <= 8
    assert max(running()[fewer_from:fewer_until]) <= 3
    assert max(running()[one_from:], default=0) <= 1
    assert running()[-1] == 0
    ours.send(b"")  # ends the thread that listens
    ours.close()
    theirs.close()
