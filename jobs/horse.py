"""The horse: the long-lived process that runs handlers, started by the worker's parent.

Handler threads run jobs; the main thread is the only one that claims and records. A turn of its loop:

1. collect what arrived: attempts that ended, ids that were popped, signals;
2. one transaction: the outcomes, their statistics and log lines, and the next claims;
3. hand the claimed jobs to free threads (never more jobs than free threads);
4. one call to Redis: mirrors, pushes, hashes to delete, ids to give back, the next ids.

The busier it is the larger the groups; idle, a job costs one commit to start and one to end.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import queue as queues
import signal
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs import failpoints, isolate, process, queue
from jobs.commit import Done, Outcome, Recorder, Work
from jobs.conf import conf
from jobs.context import JobContext
from jobs.fetcher import Fetcher
from jobs.group import SQLITE_PAUSE_S
from jobs.interrupts import Slot, Watch
from jobs.lifecycle import End
from jobs.rows import Row, mirror_entry
from jobs.run import ended, is_isolated, run
from jobs.transitions import Claimed

log = logging.getLogger("jobs.horse")

TICK_S = 1.0
"""Seconds between two looks at what only the database knows: cancel requests, paused queues, log lines."""

AHEAD_S = 0.005
"""Seconds that ids popped ahead wait for a thread; then they go back to the head of their list."""

RUNNING_MIRROR_S = 0.02
"""Seconds a job may run before its `running` is mirrored: shorter ones are over before anybody asks."""

DRAINED, RECYCLE = 0, 75
"""Exit codes: all is done (stop or burst); please start another one (EX_TEMPFAIL of sysexits.h)."""


@dataclass(slots=True)
class Running:
    claimed: Claimed
    context: JobContext
    since: float = field(default_factory=time.monotonic)
    mirrored: tuple[int, int] = (0, 0)
    """(row version, progress number) that the mirror was told last."""


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
        only: uuid.UUID | None = None,
    ) -> None:
        self.lease_id, self.worker, self.queue_names = lease_id, worker, tuple(queue_names)
        self.concurrency, self.is_burst, self.max_jobs, self.max_idle_s = concurrency, is_burst, max_jobs, max_idle_s
        self.stopping = threading.Event()
        self.inbox: queues.SimpleQueue[Any] = queues.SimpleQueue()
        self.tasks: queues.SimpleQueue[tuple[Claimed, JobContext] | None] = queues.SimpleQueue()
        self.running: dict[uuid.UUID, Running] = {}
        self.in_hand: deque[tuple[uuid.UUID, str]] = deque()
        self.watch = Watch()
        self.recorder = Recorder(lease_id, worker)
        self.fetcher = None if only else Fetcher(self.inbox, is_burst=is_burst)
        self.claimed_count = 0
        self.pace = 0
        """Attempts that ended in the last turn that had any: for as many threads ids are popped ahead."""

        self.was_fed = False
        """Whether ids came since the last pop: where one was, there may be more."""

        self.is_draining = False
        """Takes nothing new, and ends when what runs is over: burst, recycling, a stop."""

        self.exit_code = DRAINED
        self.last_tick = 0.0
        self.idle_since = time.monotonic()
        self.broker_down_until = 0.0
        self.last_group = 1
        if only is not None:
            self.in_hand.append((only, ""))

    # --- the loop ---------------------------------------------------------------------------------

    def work(self) -> int:
        """Work until told to stop or drained; the exit code."""
        for number in range(self.concurrency):
            threading.Thread(target=self._handle, name=f"handler-{number}", daemon=True).start()
        if self.fetcher is not None:
            self.fetcher.start(self.queue_names)
        log.info("horse %d of worker %s is ready, %d threads", os.getpid(), self.worker, self.concurrency)
        while True:
            outcomes = self._collect()
            self._turn(outcomes)
            if self._is_over():
                self._give_back()
                return self.exit_code

    @property
    def free(self) -> int:
        """Handler threads with nothing to do."""
        return self._room(0)

    def _room(self, ended_count: int) -> int:
        """Jobs that may be claimed once so many of those that run are over."""
        if self.is_draining or self.stopping.is_set():
            return 0
        room = self.concurrency - len(self.running) + ended_count
        return min(room, self.max_jobs - self.claimed_count) if self.max_jobs else room

    def _collect(self) -> list[Outcome]:
        """Step 1: wait for something to do, then take all that is there."""
        outcomes: list[Outcome] = []
        block = not (self.in_hand and self.free > 0)
        timeout = self._patience_s()
        while True:
            try:
                message = self.inbox.get(block=block, timeout=timeout)
            except queues.Empty:
                return outcomes
            block = False
            if isinstance(message, Outcome):
                outcomes.append(message)
            elif isinstance(message, list):
                self.in_hand.extend(message)
                self.was_fed = True
            elif message == "empty" and self.is_burst and not self.running and not self.in_hand and not outcomes:
                self.is_draining = True
            elif message == "down":
                self.in_hand.extend(self.recorder.oldest_queued(self.queue_names, self.free - len(self.in_hand)))
            elif message == "idle" and self.fetcher is not None:
                names, room = self.fetcher.open_queues, self.free - len(self.in_hand)
                self.in_hand.extend(self.recorder.oldest_queued(names, room, older_than_s=conf().lost_margin_s))

    def _patience_s(self) -> float:
        """Seconds to wait for news at most: until the next tick, until something needs its mirror, or until
        ids that were popped ahead have waited long enough for a thread."""
        waits = [max(0.0, self.last_tick + TICK_S - time.monotonic())]
        if self.in_hand:
            waits.append(AHEAD_S)
        for job in self.running.values():
            if job.mirrored[0] == 0:
                waits.append(max(0.001, job.since + RUNNING_MIRROR_S - time.monotonic()))
        return min(waits)

    def _turn(self, outcomes: list[Outcome]) -> None:
        wanted = [self.in_hand.popleft() for _ in range(min(self._room(len(outcomes)), len(self.in_hand)))]
        is_tick = time.monotonic() - self.last_tick >= TICK_S
        done = Done()
        if outcomes or wanted or is_tick:
            work = Work(outcomes, [job_id for job_id, _ in wanted], self._lines(is_tick), is_tick, self._contexts())
            done = self.recorder.commit(work)  # step 2
            for outcome in outcomes:
                self.running.pop(outcome.ended.job_id, None)
            for job in done.claimed:
                self._start(job)  # step 3
            if is_tick:
                self._tick(done.cancelled, done.paused)
        if self.fetcher is None:
            self.is_draining = True  # one attempt was asked for, and there is no other
        self._tell_redis(done.moved, len(outcomes), len(done.claimed))  # step 4
        if outcomes and not self.inbox.empty():
            self.recorder.let_others_write(SQLITE_PAUSE_S)

    def _is_over(self) -> bool:
        if self.running:
            self.idle_since = time.monotonic()
            return False
        if self.max_jobs and self.claimed_count >= self.max_jobs:
            self.is_draining = True
        if self.max_idle_s and not self.in_hand and time.monotonic() - self.idle_since > self.max_idle_s:
            self.is_draining = True
        return self.is_draining or self.stopping.is_set()

    def _give_back(self) -> None:
        """At the end: ids that were popped and not claimed. What is missed here is found as lost."""
        while not self.inbox.empty():
            message = self.inbox.get()
            self.in_hand.extend(message if isinstance(message, list) else ())
        if self.in_hand and self.fetcher is not None:
            with contextlib.suppress(*queue.OUTAGE):
                queue.run(queue.Turn(returns=list(self.in_hand)))

    # --- handler threads --------------------------------------------------------------------------

    def _start(self, claimed: Claimed) -> None:
        self.claimed_count += 1
        slot = Slot()
        context = JobContext(claimed.row, self.lease_id, slot, self.stopping)
        self.running[claimed.row.id] = Running(claimed, context)
        if is_isolated(claimed.row):
            isolate.prepare()
        log.info("job %s %s attempt %d starts", claimed.row.id, claimed.row.type, claimed.row.attempt)
        self.tasks.put((claimed, context))

    def _handle(self) -> None:
        """A handler thread."""
        while (task := self.tasks.get()) is not None:
            claimed, context = task
            began = time.monotonic()
            try:
                if is_isolated(claimed.row):
                    result = isolate.run_isolated(claimed, context, self.stopping)
                else:
                    result = run(claimed, context, context.slot, self.watch)
            except BaseException as error:  # starting a process may fail; the thread must not
                log.exception("job %s could not be run", claimed.row.id)
                code = type(error).__name__
                result = ended(claimed.row, context, End.RAISED, delay_s=5.0, error_code=code, error_message=str(error))
            self.inbox.put(Outcome(result, claimed.row, time.monotonic() - began, context.log.take()))

    def _contexts(self) -> dict[uuid.UUID, JobContext]:
        return {job_id: job.context for job_id, job in self.running.items()}

    def _lines(self, is_tick: bool) -> list[tuple[Row, list[Any]]]:
        """Log lines of attempts that go on, once a tick."""
        if not is_tick:
            return []
        return [(job.claimed.row, lines) for job in self.running.values() if (lines := job.context.log.take())]

    # --- Redis and the tick -----------------------------------------------------------------------

    def _tell_redis(self, moved: list[Row], ended_count: int, claimed_count: int) -> None:
        turn = queue.turn_for(moved)
        if self.fetcher is not None:  # a stock RQ worker names itself
            turn.worker, turn.starts = self.worker, self._unmirrored()
        turn.mirrors = [*turn.mirrors, *self._running_mirrors()]
        self.pace = ended_count or (self.pace if claimed_count else 0)
        room = self._room(min(self.pace, len(self.running)))
        surplus = max(0, len(self.in_hand) - room)
        turn.returns = [self.in_hand.pop() for _ in range(surplus)][::-1]
        if self.fetcher is not None and (self.pace or self.was_fed):
            turn.pop = max(0, room - len(self.in_hand))
            turn.queues = self.fetcher.open_queues
            self.was_fed = False
        if turn.mirrors or turn.pushes or turn.deletes or turn.returns or turn.pop:
            if time.monotonic() < self.broker_down_until:
                self.recorder.remember(moved)
                self.in_hand.extend(self.recorder.oldest_queued(self.queue_names, turn.pop))
            else:
                self._call(turn, moved)
        if self.fetcher is not None:
            self.fetcher.wish(self.free > len(self.in_hand))

    def _call(self, turn: queue.Turn, moved: list[Row]) -> None:
        try:
            turn.mirrors = [*self.recorder.owed_mirrors(), *turn.mirrors]
            popped = queue.run(turn)
            if popped:
                failpoints.hit("claim.after_pop")
            self.in_hand.extend(popped)
        except queue.OUTAGE as error:
            log.warning("Redis did not answer (%s); housekeeping makes up for it", type(error).__name__)
            self.broker_down_until = time.monotonic() + conf().breaker_s
            self.recorder.remember(moved)

    def _unmirrored(self) -> list[uuid.UUID]:
        """Jobs that Redis is about to be told of as running for the first time."""
        since = time.monotonic() - RUNNING_MIRROR_S
        return [job_id for job_id, job in self.running.items() if job.mirrored[0] == 0 and job.since <= since]

    def _running_mirrors(self) -> list[tuple[str, str, bytes]]:
        """Entries of attempts that go on and have news: that they run, or their progress."""
        entries = []
        now = time.monotonic()
        for job in self.running.values():
            number, progress = job.context.latest_progress
            stamp = (job.claimed.row.version, number)
            if job.mirrored != stamp and now - job.since >= RUNNING_MIRROR_S:
                entries.append(mirror_entry(job.claimed.row, number, progress))
                job.mirrored = stamp
        return entries

    def _tick(self, cancelled: Sequence[uuid.UUID], paused: Sequence[str]) -> None:
        self.last_tick = time.monotonic()
        for job_id in cancelled:
            if job_id in self.running:
                self.running[job_id].context.cancel()
        if self.fetcher is not None:
            self.fetcher.pause(paused)
        limit_mb, most = conf().horse_max_rss_mb, conf().horse_max_jobs
        is_used_up = (most and self.claimed_count >= most) or (limit_mb and process.rss_mb(os.getpid()) > limit_mb)
        if is_used_up and not self.is_draining:
            log.info("horse %d is replaced after %d jobs", os.getpid(), self.claimed_count)
            self.is_draining, self.exit_code = True, RECYCLE

    def stop(self, *_: Any) -> None:
        """Signal handler: take nothing new, tell the handlers."""
        self.stopping.set()
        self.inbox.put("stop")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lease", type=uuid.UUID, required=True)
    parser.add_argument("--worker", required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--queues", nargs="+", required=True)
    parser.add_argument("--burst", action="store_true")
    parser.add_argument("--max-jobs", type=int, default=0)
    parser.add_argument("--max-idle", type=float, default=0.0)
    parser.add_argument("--only", type=uuid.UUID)


def main(options: dict[str, Any]) -> None:
    """The process, from its first step to its end."""
    process.die_with_parent(options["parent"])
    process.allow_blocking_in_event_loops()
    horse = Horse(
        lease_id=options["lease"],
        worker=options["worker"],
        queue_names=options["queues"],
        concurrency=options["concurrency"],
        is_burst=options["burst"],
        max_jobs=options["max_jobs"],
        max_idle_s=options["max_idle"],
        only=options["only"],
    )
    signal.signal(signal.SIGTERM, horse.stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which decides
    exit_code = horse.work()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)  # handler threads and isolated attempts are over; nothing waits for daemons
