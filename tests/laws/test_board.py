"""What threads run, as the horse notes it and its parent reads it."""

from __future__ import annotations

import socket
import uuid

from jobs.board import OVER, THREADS, Board
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


def test_the_parent_knows_which_handlers_were_started() -> None:
    """Those that ended are known as long as their outcomes may not be recorded, whatever the threads run by now."""
    board = Board()
    long, *others = (uuid.uuid4() for _ in range(OVER))
    board.begin(0, long)
    for job_id in others:
        board.begin(1, job_id)
        board.end(job_id)
    board.rest(1)
    assert board.running() == {long}
    assert board.begun() == {long, *others}
    board.end(long)
    board.begin(0, others[0])
    assert long in board.begun()
