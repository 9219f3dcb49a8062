"""The horse: the long-lived process that runs handlers, started by the worker's parent.

Handler threads run jobs; the main thread is the only one that claims and records. A turn of its loop:

1. collect what arrived: attempts that ended, ids that were popped, signals;
2. one transaction: the outcomes, their statistics and log lines, and the next claims;
3. hand the claimed jobs to the threads (one for each free thread; more while they are quick: see window.py);
4. one call to Redis: mirrors, pushes, ids to give back, the next ids.

The busier it is the larger the groups; idle, a job costs one commit to start and one to end.
"""

from __future__ import annotations

import logging
import os
import queue as queues
import socket
import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any

from jobs import failpoints, foreign, owner, polls, process, queue
from jobs.board import Board
from jobs.commit import Recorder
from jobs.conf import conf
from jobs.database import after_commit
from jobs.fetcher import Fetcher
from jobs.grant import DRAINED, RECYCLE
from jobs.hand import Hand
from jobs.handling import Handlers
from jobs.interrupts import NEVER
from jobs.lifecycle import End
from jobs.outcome import Outcome
from jobs.owed import Owed
from jobs.roster import Roster
from jobs.rows import Row
from jobs.run import TERMINATED
from jobs.share import Share
from jobs.window import Window
from jobs.work import Done, Work

log = logging.getLogger("jobs.horse")

TICK_S = 1.0
"""Seconds between two looks at what only the database knows: cancel requests, paused queues, log lines."""

AHEAD_S = 0.005
"""Seconds that ids popped ahead wait for a thread; then they go back to the head of their list."""


class Horse:
    def __init__(
        self,
        *,
        lease_id: uuid.UUID,
        worker: str,
        queue_names: Sequence[str],
        concurrency: int,
        is_burst: bool = False,
        max_jobs: int = 0,
        max_idle_s: float = 0.0,
        quiet_s: float = 0.0,
        only: uuid.UUID | None = None,
        channel: socket.socket | None = None,
    ) -> None:
        self.lease_id, self.worker, self.queue_names = lease_id, worker, tuple(queue_names)
        self.is_burst, self.max_jobs, self.max_idle_s = is_burst, max_jobs, max_idle_s
        self.stopping = threading.Event()
        self.inbox: queues.SimpleQueue[Any] = queues.SimpleQueue()
        self.handlers = Handlers(concurrency, self.inbox, self.stopping, Board.borrow(channel) if channel else Board())
        self.window = Window(concurrency)
        self.share = Share(self.inbox, self.handlers, self.window, channel, quiet_s)
        self.running = Roster()
        self.in_hand = Hand()
        self.recorder, self.owed = Recorder(lease_id, worker), Owed()
        self.fetcher = None if only else Fetcher(self.inbox, is_burst=is_burst)
        self.claimed_count = 0
        self.is_draining, self.last_word = False, DRAINED
        """Takes nothing new, and ends when what runs is over: burst, recycling, a stop. What its parent hears then."""

        self.last_tick = self.broker_down_until = 0.0
        self.idle_since = time.monotonic()
        if only is not None:
            self.in_hand.append((only, ""))

    def work(self) -> None:
        """Work until told to stop or drained, and tell the parent that no job runs any more."""
        if self.fetcher is not None:
            self.fetcher.start(self.queue_names)
        log.info("horse %d of worker %s is ready, %d threads", os.getpid(), self.worker, self.handlers.count)
        while True:
            outcomes = self._collect()
            self._turn(outcomes)
            self.share.look(len(outcomes), len(self.running))
            if self._is_over():
                if self.stopping.is_set():
                    self._stop([])  # the signal may have come since this turn began
                self._give_back()
                self.share.say_last(self.last_word)
                return

    @property
    def open_queues(self) -> Sequence[str]:
        return self.fetcher.open_queues if self.fetcher is not None else ()

    @property
    def free(self) -> int:
        """Jobs that may be claimed now."""
        return self._room(0)

    def _room(self, ended_count: int) -> int:
        """Jobs that may be claimed once so many of those that run are over."""
        if self.is_draining or self.stopping.is_set():
            return 0
        room = max(0, self.window.size - len(self.running) + ended_count)
        return min(room, self.max_jobs - self.claimed_count) if self.max_jobs else room

    def _collect(self) -> list[Outcome]:
        """Step 1: wait for something to do, then take all that is there."""
        outcomes: list[Outcome] = []
        block = not (self.in_hand and self.free > 0)
        timeout = self._patience_s()
        while True:
            try:
                message = self.share.wait(block, timeout)
            except queues.Empty:
                break
            timeout = self.handlers.left_s
            block = timeout < NEVER  # what is begun at once shall end in one group
            if isinstance(message, Outcome):
                outcomes.append(message)
            elif isinstance(message, list) and self.fetcher is not None:
                self.in_hand.feed(message)
                self.fetcher.is_out = False
            elif isinstance(message, int):
                self.share.take(message)
            elif message == "empty" and self.is_burst and not self.running and not self.in_hand and not outcomes:
                self.is_draining = True
            elif message in ("down", "idle"):
                room, old_s = self.free - len(self.in_hand), conf().lost_margin_s if message == "idle" else 0.0
                self.in_hand.extend(polls.oldest_queued(self.open_queues, room, older_than_s=old_s))
        if released := self.handlers.overdue():
            self.window.close()
            self.claimed_count -= len(released)
            self.in_hand.give_back([(outcome.row.id, outcome.row.queue) for outcome in released])
        return outcomes + released

    def _patience_s(self) -> float:
        """Seconds to wait for news at most: until the next tick, until something needs its mirror, or until
        what was popped or claimed ahead has waited long enough for a thread."""
        tick_s = max(0.0, self.last_tick + TICK_S - time.monotonic())
        ahead_s = AHEAD_S if self.in_hand else NEVER
        return min(tick_s, ahead_s, self.handlers.left_s, self.running.patience_s())

    def _turn(self, outcomes: list[Outcome]) -> None:
        if self.stopping.is_set():
            outcomes = self._stop(outcomes)
        if outcomes or not self.running:
            characters = sum(outcome.characters for outcome in outcomes)
            self.window.observe([outcome.run_s for outcome in outcomes], len(self.running), characters)
        wanted = self.in_hand.draw(self._room(len(outcomes)))
        is_tick = time.monotonic() - self.last_tick >= TICK_S
        done = Done()
        if outcomes or wanted or is_tick:
            lines = self.running.lines() if is_tick else []
            work = Work(outcomes, [job_id for job_id, _ in wanted], lines, is_tick, self.running)
            done = self.recorder.commit(work)  # step 2
            for outcome in outcomes:
                self.running.pop(outcome.ended.job_id, None)
            self.handlers.note_waiting(self.recorder.waiting.outcomes)
            self.in_hand.give_back([(row.id, row.queue) for row in done.taken_back])
            self._start(done.opened)  # step 3
            if done.is_revoked:  # until the parent notices, ids must not be swallowed here: they go back below
                self.in_hand.give_back(wanted)
                self.is_draining, self.last_word = True, RECYCLE
            elif len(done.opened) < len(wanted) and self.fetcher is not None:
                foreign.put_aside([popped for popped in wanted if popped[0] not in self.running])
            if is_tick:
                self._tick(done.cancelled, done.paused)
        self.is_draining |= self.fetcher is None  # one attempt was asked for, and there is no other
        self.in_hand.note(len(outcomes), len(done.opened))
        after_commit(self._tell_redis, done)  # step 4

    def _stop(self, outcomes: list[Outcome]) -> list[Outcome]:
        """A signal came. Somebody else than the parent sent it: another horse follows, and who left by an exception runs
        alone the next time, since it may have sent the signal itself, each time."""
        self.share.say_stopping()
        if self.fetcher is not None:
            self.fetcher.close()
        if self.share.is_told_to_stop:
            return outcomes
        self.last_word = RECYCLE
        return [
            outcome._replace(ended=outcome.ended._replace(error_code=TERMINATED))
            if outcome.ended.end is End.RELEASED and outcome.run_s
            else outcome
            for outcome in outcomes
        ]

    def _is_over(self) -> bool:
        if self.running or self.recorder.waiting.outcomes:
            self.idle_since = time.monotonic()
            return False
        is_spent = self.max_jobs and self.claimed_count >= self.max_jobs
        is_idle = self.max_idle_s and time.monotonic() - self.idle_since > self.max_idle_s
        self.is_draining |= bool(is_spent or ((is_idle or self.share.is_needless) and not self.in_hand))
        return self.is_draining or self.stopping.is_set()

    def _give_back(self) -> None:
        """At the end: ids that were popped and not claimed, the one that the fetcher waits for included."""
        if self.fetcher is not None:
            self.fetcher.wait_closed()
        while not self.inbox.empty():
            message = self.inbox.get()
            self.in_hand.extend(message if isinstance(message, list) else ())
        if self.in_hand and self.fetcher is not None:
            after_commit(queue.run, queue.Turn(returns=list(self.in_hand)))

    def _start(self, opened: Sequence[str]) -> None:
        self.claimed_count += len(opened)
        if opened:
            self.handlers.take(self.running.begin(opened, self.stopping))

    # --- Redis and the tick -----------------------------------------------------------------------

    def _tell_redis(self, done: Done) -> None:
        turn = queue.turn_for(done.moved, entries=done.entries)
        turn.pushes = self.in_hand.without_own(turn.pushes)
        if self.fetcher is not None:  # a stock RQ worker names itself
            turn.worker, turn.starts = self.worker, self.running.unmirrored()
        turn.mirrors = [*turn.mirrors, *self.running.mirrors()]
        room = self._room(min(self.in_hand.expected, len(self.running)))
        turn.returns = self.in_hand.surplus(room)
        is_down = time.monotonic() < self.broker_down_until
        if self.fetcher is not None and (is_down or not self.fetcher.is_out):
            turn.pop, turn.queues = self.in_hand.missing(room), self.open_queues
        if turn.mirrors or turn.pushes or turn.returns or turn.pop or self.owed:
            if is_down:
                self.owed.remember(done.moved)
                self.in_hand.extend(polls.oldest_queued(self.open_queues, turn.pop))
            else:
                self._call(turn, done.moved)
        if self.fetcher is not None and self.free > len(self.in_hand):
            self.fetcher.fetch()

    def _call(self, turn: queue.Turn, moved: list[Row]) -> None:
        try:
            popped = queue.run(turn)
            if popped:
                failpoints.hit("claim.after_pop")
            self.in_hand.extend(popped)
            self.owed.pay()
        except Exception as error:  # whatever a client of Redis raises: the outcomes are committed
            log.log(owner.level_of(error), "Redis did not answer (%s); housekeeping repairs it", type(error).__name__)
            self.broker_down_until = time.monotonic() + conf().breaker_s
            self.owed.remember(moved)

    def _tick(self, cancelled: Sequence[uuid.UUID], paused: Sequence[str]) -> None:
        self.last_tick = time.monotonic()
        owner.refresh()
        self.running.cancel(cancelled)
        if self.fetcher is not None:
            self.fetcher.pause(paused)
        limit_mb, most = conf().horse_max_rss_mb, conf().horse_max_jobs
        is_used_up = (most and self.claimed_count >= most) or (limit_mb and process.rss_mb(os.getpid()) > limit_mb)
        if is_used_up and not self.is_draining and not self.recorder.waiting.outcomes:
            log.info("horse %d is replaced after %d jobs", os.getpid(), self.claimed_count)
            self.is_draining, self.last_word = True, RECYCLE

    def stop(self, *_: Any) -> None:
        """Signal handler: take nothing new, tell the handlers."""
        self.stopping.set()
        self.inbox.put("stop")
