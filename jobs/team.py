"""The horses of one worker: one, or several that share its threads, since one interpreter keeps one core busy.

Each has a supervisor, and so a lease and a dead-man timer, of its own: what befalls one leaves the jobs of the others alone.
The first supervisor belongs to the main thread, each further one to a thread that lives as long as it does: a horse dies
with the thread that started it (PDEATHSIG).

Unless somebody said how many, another horse comes while all are busy and leaves when it is hardly needed (`share.py`).
Threads move between them, and are never too many: those that are there give theirs back before the next one starts.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from jobs import process
from jobs.conf import conf
from jobs.database import connection
from jobs.supervise import Options, Supervisor

log = logging.getLogger("jobs.worker")

THREADS_A_HORSE = 5
"""Fewer threads than so many are not worth another process, however busy they are."""

PATIENCE_S = 5.0
"""Seconds that threads may take to be given back: where jobs take longer, another horse would be of little use."""

REST_S = 60.0
"""Seconds until they are asked again after that."""


class Team:
    def __init__(self, options: Options, horses: int = 0) -> None:
        """`horses`: as many, but no more than threads; 0: what the settings say."""
        self.stopping = threading.Event()
        """Set when told to stop."""

        horses = horses or conf().horses
        self._options = options
        self._most = most_horses(options, horses)
        self._is_elastic = not horses and self._most > 1 and not options.max_idle_s  # one says when all are idle
        self.supervisors = [
            Supervisor(replace(options, concurrency=threads), self.stopping)
            for threads in shares(options.concurrency, self._most if horses else 1)
        ]
        self._threads: list[threading.Thread] = []
        self._exit_codes: list[int] = []
        self._asked_at: float | None = None
        """Since when the horses are asked to give threads back for another one."""

        self._resting_until = 0.0

    def run(self) -> int:
        """Until all of them are done; the worst of their exit codes. Belongs to the main thread."""
        first, *others = self.supervisors
        first.on_look = self._balance
        with process.hearing_of_children(self._wake):
            for supervisor in others:
                self._begin(supervisor)
            self._run(first)
            for thread in self._threads:
                thread.join()
        return max(self._exit_codes, key=abs)

    def _begin(self, supervisor: Supervisor) -> None:
        thread = threading.Thread(target=self._run, args=(supervisor,), name=f"horse-{len(self._threads) + 2}")
        thread.start()
        self._threads = [*filter(threading.Thread.is_alive, self._threads), thread]

    def _run(self, supervisor: Supervisor) -> None:
        exit_code = 1
        try:
            exit_code = supervisor.run()
        finally:
            connection.close()
            options = supervisor.options
            if options.quiet_s:  # others do its work
                self._resting_until = time.monotonic() + REST_S if exit_code else self._resting_until
                supervisor.dead_man.close()
            else:
                self._exit_codes.append(exit_code)
                has_end = options.is_burst or options.max_idle_s
                if not has_end and not any(other.stop_wishes for other in self.supervisors):
                    self.stop()  # a worker that goes on with some of its threads would look whole
            supervisor.is_over = True

    def _balance(self) -> None:
        """Between two looks of the first supervisor: another horse while all are busy, threads back once one has left."""
        if not self._is_elastic or self.stopping.is_set():
            return
        team = [supervisor for supervisor in self.supervisors if not supervisor.is_over]
        now = time.monotonic()
        if len(team) < len(self.supervisors):
            self.supervisors = team
            log.info("worker %s: a horse has left, %d go on", self._options.worker, len(team))
        if self._asked_at is None and len(team) < self._most and now > self._resting_until:
            self._asked_at = now if all(supervisor.grant.is_busy for supervisor in team) else None
        threads = shares(self._options.concurrency, len(team) + (self._asked_at is not None))
        for supervisor, share in zip(team, threads, strict=False):
            supervisor.grant.threads = share
        if self._asked_at is None:
            return
        if all(supervisor.grant.is_kept for supervisor in team):
            self._asked_at = None
            self._add(threads)
        elif now - self._asked_at > PATIENCE_S:
            self._asked_at, self._resting_until = None, now + REST_S

    def _add(self, threads: Sequence[int]) -> None:
        log.info(
            "worker %s is busy, another horse comes: %s threads", self._options.worker, " + ".join(map(str, threads))
        )
        options = replace(self._options, concurrency=threads[-1], quiet_s=conf().horse_quiet_s)
        try:
            supervisor = Supervisor(options, self.stopping)
            self._begin(supervisor)
        except (OSError, RuntimeError) as error:  # the system has no more timers or threads
            log.warning("worker %s cannot take another horse: %s", self._options.worker, error)
            self._resting_until = time.monotonic() + REST_S
        else:
            self.supervisors.append(supervisor)

    def _wake(self) -> None:
        for supervisor in self.supervisors:
            supervisor.wake.put(None)

    def stop(self) -> None:
        """Warm; the second time at once. Called from a signal handler: takes no lock that the main thread may hold."""
        for supervisor in self.supervisors:
            supervisor.stop()

    def kill(self, why: str) -> None:
        """Kill the horses on purpose; their jobs are released, and the next horses follow."""
        for supervisor in self.supervisors:
            supervisor.kill(why)

    @property
    def horse_pid(self) -> int:
        """Of the first one that runs; 0: none does."""
        for supervisor in self.supervisors:
            present = supervisor.present
            if present is not None and present.child is not None:
                return present.child.pid
        return 0


def most_horses(options: Options, horses: int) -> int:
    """How many there may be. Where jobs are counted there is one, since two would count apart."""
    cores = len(os.sched_getaffinity(0)) if process.IS_LINUX else os.cpu_count() or 1
    most = min(horses, options.concurrency) if horses else min(cores, options.concurrency // THREADS_A_HORSE)
    return 1 if options.max_jobs or options.only else max(1, most)


def shares(threads: int, horses: int) -> list[int]:
    """What each horse gets, evenly."""
    return [threads // horses + (number < threads % horses) for number in range(horses)]
