"""Handler threads: each runs one attempt after another and puts into the inbox what came of it."""

from __future__ import annotations

import contextlib
import logging
import queue as queues
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from django.db import connections

from jobs import process
from jobs.board import Board
from jobs.context import JobContext
from jobs.interrupts import NEVER, Slot, Watch
from jobs.isolate import Nursery, Unstarted
from jobs.lifecycle import End
from jobs.outcome import Outcome
from jobs.run import ended, is_isolated, run
from jobs.stray_threads import StrayThreads
from jobs.transitions import Claimed
from jobs.window import PATIENCE_S

log = logging.getLogger("jobs.horse")

UNSTARTABLE_DELAY_S = 5.0
"""Seconds until a job is put back whose process could not even be started."""


class Handlers:
    def __init__(self, count: int, inbox: queues.SimpleQueue[Any], stopping: threading.Event, board: Board) -> None:
        self.count = 0
        """Attempts that may run at once."""

        self._inbox = inbox
        self._stopping = stopping
        self._board = board
        self._tasks: deque[tuple[Claimed, JobContext]] = deque()
        self._bell: queues.SimpleQueue[None] = queues.SimpleQueue()
        self._is_rung = False
        self._taken_at = 0.0
        self._busy: set[int] = set()
        self._parked: list[queues.SimpleQueue[None]] = []
        """A bell for each thread, for when there are more of them than attempts may run."""

        self._watch = Watch()
        self._nursery = Nursery()
        self._began: dict[int, float] = {}
        """Since when threads run their present attempts, those in this process."""

        self._threads: set[threading.Thread] = set()
        self._strays = StrayThreads(self._began, self._threads)
        self.resize(count)

    def resize(self, count: int) -> None:
        """Run so many attempts at once from now on; who is beyond that ends what it runs: see `is_within`."""
        self.count = count
        for bell in self._parked[:count]:
            bell.put(None)
        for number in range(len(self._parked), count):
            self._parked.append(queues.SimpleQueue())
            thread = threading.Thread(target=self._loop, args=(number,), name=f"handler-{number}", daemon=True)
            self._threads.add(thread)
            thread.start()

    @property
    def is_within(self) -> bool:
        """Whether no attempt runs beyond `count`."""
        return all(number < self.count for number in tuple(self._busy))

    def take(self, group: Sequence[tuple[Claimed, JobContext]]) -> None:
        """Run attempts, the first ones first; called by the horse's main thread.

        Waking a thread costs more than a job that does nothing. So one is woken, takes an attempt, and wakes the
        next one if there is more to do; where handlers are quick, few threads do it all.
        """
        if any(is_isolated(claimed.row) for claimed, _ in group):
            self._nursery.prepare()
        self._taken_at = time.monotonic()
        self._tasks.extend(group)
        self._ring()

    def note_waiting(self, outcomes: Sequence[Outcome]) -> None:
        """Outcomes that could not be recorded yet are still of handlers that were started."""
        for outcome in outcomes:
            self._board.end(outcome.row.id)

    @property
    def left_s(self) -> float:
        """Seconds that attempts may go on waiting for a thread; NEVER when none does."""
        if not self._tasks:
            return NEVER
        return max(0.0, self._taken_at + PATIENCE_S - time.monotonic())

    def overdue(self) -> list[Outcome]:
        """The attempts that no thread has begun in time, because all are busy, oldest first."""
        if self.left_s > 0:
            return []
        if len(self._busy) < self.count:  # on a busy machine threads take their time to wake
            self._taken_at = time.monotonic()
            return []
        released: deque[Outcome] = deque()
        with contextlib.suppress(IndexError):  # threads take from the other end meanwhile
            while True:
                claimed, context = self._tasks.pop()
                released.appendleft(Outcome.of(ended(claimed.row, context, End.UNBEGUN), claimed.row))
        return list(released)

    def _ring(self) -> None:
        """Wake a thread, unless one is on its way. Twice by a race does no harm: it finds nothing and sleeps again."""
        if not self._is_rung:
            self._is_rung = True
            self._bell.put(None)

    def _next(self, number: int) -> tuple[Claimed, JobContext]:
        """The next attempt for that thread, which counts as busy before it looks: so `is_within` misses none."""
        while True:
            self._busy.add(number)
            if number >= self.count:
                self._busy.discard(number)
                self._board.rest(number)
                if self._tasks:
                    self._ring()
                with contextlib.suppress(Exception):  # the drivers' own classes
                    connections.close_all()  # others use theirs instead
                self._parked[number].get()
                continue
            try:
                task = self._tasks.popleft()
            except IndexError:
                self._busy.discard(number)
                self._board.rest(number)
                self._bell.get()
                self._is_rung = False  # before the look that follows: who adds a task after it rings
            else:
                if self._tasks:
                    self._ring()
                return task

    def _end_processes(self, claimed: Claimed) -> None:
        """The end of an attempt is the end of what it started, as far as the kernel still knows that this thread did."""
        if pids := process.kill_children_of_thread():
            log.info("processes that an attempt left were killed: job=%s pids=%s", claimed.row.id, pids)

    def _loop(self, number: int) -> None:
        while True:
            claimed, context = self._next(number)
            began = time.monotonic()
            try:
                if is_isolated(claimed.row):
                    self._board.rest(number)
                    self._nursery.await_ready(self._stopping)
                    self._board.begin(number, claimed.row.id)
                    result = self._nursery.run(claimed, context, self._stopping)
                else:
                    self._board.begin(number, claimed.row.id)
                    self._began[number] = began
                    result = run(claimed, context, Slot(), self._watch)
                    del self._began[number]
                    if process.has_children_of_thread():
                        self._end_processes(claimed)
            except Unstarted as error:
                log.warning("the process of an attempt could not be started, its job is put back: job=%s error=%s",
                            claimed.row.id, error)  # fmt: skip
                self._stopping.wait(UNSTARTABLE_DELAY_S)
                result = ended(claimed.row, context, End.UNBEGUN)
            except BaseException as error:  # starting a process may fail; the thread must not
                log.exception("job %s could not be run", claimed.row.id)
                context.has_effects |= is_isolated(claimed.row)  # it may have begun; the database knows
                result = ended(
                    claimed.row, context, End.RAISED, delay_s=UNSTARTABLE_DELAY_S,
                    error_code=type(error).__name__, error_message=str(error),
                )  # fmt: skip
            self._busy.discard(number)
            self._board.end(claimed.row.id)
            run_s, lines = time.monotonic() - began, context.take_lines()
            self._inbox.put(Outcome.of(result, claimed.row, run_s, lines, claimed.payload))
