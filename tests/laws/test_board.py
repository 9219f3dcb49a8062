"""What threads run, as the horse notes it and its parent reads it."""

from __future__ import annotations

import socket
import uuid

from jobs.board import THREADS, Board
from jobs.grant import Grant


def test_what_one_end_notes_the_other_one_reads() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        parent, horse = Board.lend(ours), Board.borrow(theirs)
    first, second = uuid.uuid4(), uuid.uuid4()
    assert parent.running() == set()
    horse.begin(0, first)
    horse.begin(THREADS - 1, second)
    assert parent.running() == {first, second}
    horse.begin(0, second)
    assert parent.running() == {second}
    horse.rest(THREADS - 1)
    horse.rest(0)
    assert parent.running() == set()


def test_each_horse_has_a_new_one_and_finds_it_before_all_messages() -> None:
    grant = Grant(4)
    boards = []
    for _ in range(2):
        grant.begin()
        with grant.connect() as theirs:
            grant.threads += 1
            grant.look()
            boards.append(Board.borrow(theirs))
            assert theirs.recv(16) == b"%d" % grant.threads
        boards[-1].begin(0, uuid.uuid4())
        grant.end()
    assert grant.running() == boards[1].running() != boards[0].running()
