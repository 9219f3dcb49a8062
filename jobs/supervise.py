"""The parent's duties to one horse after another: start, watch, end. `incarnation.py` keeps its lease.

The order is what makes it safe: the lease is opened and the timer armed before the horse exists; the
timer is re-armed from *before* each renewal; when renewing fails the horse is killed well before any
housekeeper may take its lease for dead; and only when it has been reaped are its jobs moved.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue as queues
import signal
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.db import DatabaseError, InterfaceError

from jobs import leases, process
from jobs.conf import conf
from jobs.database import connection
from jobs.foal import Foal, start_horse
from jobs.grant import DRAINED, Grant
from jobs.incarnation import FENCE_SHARE, Incarnation, first_line, forgiving
from jobs.lifecycle import Actor

log = logging.getLogger("jobs.worker")

LOOK_S = 0.2
"""Seconds between two looks at what the other threads found; of the horse's end a signal tells at once."""

HELD_UP = "its lease cannot be renewed, the database does not commit"
HELD_LOCK = "its process held SQLite's only write lock until the lease could not be renewed"

LATE = "a signal from elsewhere told it to stop, and it did not stop in time"

DEAF = "closed its channel and went on: it became another program"
DEAF_S = 1.0
"""Seconds that a horse may live without its end of the channel: the end of a process takes less."""

RESTART_S = (0.2, 5.0)
"""Shortest and longest wait before a horse that crashed soon after its start is followed by the next, in seconds."""

STEADY_S = 5.0
"""A horse that lived longer than this is followed at once, however it ended."""


@dataclass(slots=True)
class Options:
    worker: str
    queue_names: Sequence[str]
    concurrency: int
    kind: str = "horse"
    is_burst: bool = False
    max_jobs: int = 0
    max_idle_s: float = 0.0
    quiet_s: float = 0.0
    only: uuid.UUID | None = None


class Supervisor:
    """Keeps a horse running until told to stop. Its `run` belongs to a thread that ends with it (PDEATHSIG)."""

    def __init__(self, options: Options, stopping: threading.Event) -> None:
        self.options = options
        self.stopping = stopping
        self.on_look: Callable[[], None] = lambda: None
        """What else is to be done while a horse runs, every `LOOK_S`, in the thread of `run`."""

        self.is_over = False
        """Whether no horse follows any more."""

        self.grant = Grant(options.concurrency)
        self.stop_wishes = 0
        self.kill_wish = ""
        self.wake: queues.SimpleQueue[None] = queues.SimpleQueue()
        """Reentrant, unlike an Event: a signal handler may put while this very thread waits."""

        self.present: Incarnation | None = None
        self.dead_man = process.DeadMan()
        self.foal: Foal | None = None
        """The first horse, where it could be forked."""

    def run(self) -> int:
        """Horse after horse; 0, or the exit code of the last one if its end was not planned."""
        wait_s = 0.0
        while True:
            present = self._start()
            if present is None:
                return 0
            began = time.monotonic()
            exit_code = self._watch(present)
            self._end(present, exit_code)
            is_planned = self._is_planned(present, exit_code)
            is_done = self.grant.last_word == DRAINED or self.options.only is not None
            if self.stopping.is_set() or is_done:
                return 0 if is_planned else exit_code or 1
            if self.options.quiet_s and not is_planned:
                return exit_code or 1  # it was to help: another one comes when it is wanted again
            wait_s = 0.0 if is_planned or time.monotonic() - began > STEADY_S else max(RESTART_S[0], wait_s * 2)
            self._nap(min(wait_s, RESTART_S[1]))

    def _is_planned(self, present: Incarnation, exit_code: int) -> bool:
        """Whether it was meant to end: it said so, or it was killed on purpose. Its exit code tells nothing, since any handler
        may end the process by any code; told to stop in its first second, it has no handler for the signal yet."""
        is_young = self.stopping.is_set() and exit_code == -signal.SIGTERM and not self.grant.running()
        return is_young or bool(self.grant.last_word or (present.killed and present.killed != DEAF))

    def stop(self) -> None:
        """Warm: take nothing new, wait for what runs up to the grace. The second time: at once.

        Called from a signal handler: takes no lock that the interrupted main thread may hold.
        """
        self.stop_wishes += 1
        self.wake.put(None)

    def kill(self, why: str) -> None:
        """Kill the horse on purpose; its jobs are released, and the next horse follows."""
        self.kill_wish = why
        self.wake.put(None)

    def _nap(self, seconds: float) -> None:
        """Wait, but not when there is something to heed."""
        with contextlib.suppress(queues.Empty):
            self.wake.get(timeout=seconds)
        self._heed()

    def _heed(self) -> None:
        if self.stop_wishes and not self.stopping.is_set():
            log.info("worker %s was told to stop; what runs has %g s", self.options.worker, conf().stop_grace_s)
            self.stopping.set()

    # --- one incarnation --------------------------------------------------------------------------

    def _start(self) -> Incarnation | None:
        """Open a lease, arm the timer, start the horse; None when told to stop before the database answered."""
        options = self.options
        self._heed()
        while not self.stopping.is_set():
            before = process.boottime()
            try:
                lease_id = leases.open_lease(
                    kind=options.kind, worker=options.worker, queue_names=options.queue_names,
                    concurrency=self.grant.begin(),
                )  # fmt: skip
            except (DatabaseError, InterfaceError) as error:
                log.warning("waiting for the database: %s", first_line(error))
                connection.close()
                self._nap(1.0)
                continue
            present = Incarnation(lease_id, before, options.worker, self.dead_man, self.grant)
            if present.age_s() > conf().renew_s:  # a slow database has aged it already
                forgiving(leases.end_lease, lease_id, leases.released, actor=Actor.WORKER, who=options.worker)
                self._heed()
                continue
            present.arm()
            self.present = present
            try:
                with self.grant.connect() as channel:
                    foal, self.foal = self.foal, None
                    present.child = start_horse(lease_id, self._arguments(lease_id), channel.fileno(), foal)
                present.keep()
            except BaseException:  # the system has no more processes, threads or files; nobody would re-arm the timer
                if present.child is not None:
                    process.kill_group(present.child.pid)
                present.is_reaped()
                raise
            forgiving(leases.note_horse, lease_id, present.child.pid)
            return present
        return None

    def _arguments(self, lease_id: uuid.UUID) -> list[str]:
        options = self.options
        arguments = ["jobs_horse", f"--lease={lease_id}", f"--worker={options.worker}", f"--parent={os.getpid()}"]
        arguments += [f"--concurrency={self.grant.holds}", f"--max-jobs={options.max_jobs}"]
        arguments += [
            f"--max-idle={options.max_idle_s}",
            f"--quiet={options.quiet_s}",
            *(["--burst"] if options.is_burst else []),
        ]
        arguments += [f"--only={options.only}"] if options.only else []
        return [*arguments, "--queues", *options.queue_names]

    def _watch(self, present: Incarnation) -> int:
        """Until the horse has been reaped; its exit code."""
        child = present.child
        assert child is not None
        told_at = 0.0
        while child.poll() is None:
            now = time.monotonic()
            if self.stopping.is_set() and not told_at:
                told_at = now
                self.grant.stop()
                child.send_signal(signal.SIGTERM)
                child.send_signal(signal.SIGCONT)  # a stopped horse must hear of it
            elif self.grant.is_stopping and not told_at and not present.terminated_at:
                present.terminated_at = now
                log.warning("a signal from elsewhere told horse %d of worker %s to stop; another one follows, after at most %g s",
                            child.pid, self.options.worker, conf().stop_grace_s)  # fmt: skip
            reason = self._reason_to_kill(present, told_at, now)
            if reason and not present.killed:
                present.killed = reason
                log.warning("worker %s kills its horse %d: %s", self.options.worker, child.pid, reason)
                process.kill_group(child.pid)
            self.on_look()
            self.grant.look()
            self._nap(LOOK_S)
        self.grant.look()  # what it said last
        present.is_reaped()
        process.kill_leftovers(present.lease_id, child.pid)
        return child.returncode

    def _reason_to_kill(self, present: Incarnation, told_at: float, now: float) -> str:
        if present.age_s() > conf().lease_s * FENCE_SHARE:
            return HELD_UP if present.is_held_up else "its lease cannot be renewed"
        if present.is_revoked:
            return "its lease was revoked"
        if present.culprits:
            return "a job ran past its hard limit"
        grace_s = conf().stop_grace_s
        if self.stop_wishes > 1 or (told_at and now - told_at > grace_s):
            return "it did not stop in time"
        if present.terminated_at and now - present.terminated_at > grace_s:
            return LATE
        if self.grant.closed_at and now - self.grant.closed_at > DEAF_S:
            return DEAF
        wish, self.kill_wish = self.kill_wish, ""
        return wish

    def _end(self, present: Incarnation, exit_code: int) -> None:
        """The horse is gone: revoke the lease, move its jobs; waits for the database."""
        ran, begun = self.grant.running(), self.grant.begun()
        if present.culprits:
            verdict = leases.overdue(present.culprits)
        elif present.killed == LATE:
            verdict = leases.terminated(ran)
        elif present.killed == HELD_UP and leases.is_lock_free_now():
            verdict = leases.crashed(HELD_LOCK, ran)
        elif self._is_planned(present, exit_code):
            verdict = leases.released
        else:
            how = present.killed or f"ended with {process.how_it_ended(exit_code)}, without a word"
            verdict = leases.crashed(f"the process that ran it {how}", ran)
            log.warning("worker %s: its horse %s; it ran %s", self.options.worker, how,
                        ", ".join(f"job={job_id}" for job_id in ran) or "nothing")  # fmt: skip
        give_up = None
        while True:
            try:
                moved = leases.end_lease(
                    present.lease_id, verdict, begun=begun, actor=Actor.WORKER, who=self.options.worker
                )
                if moved:
                    log.info("worker %s: %d jobs of its horse go on or end", self.options.worker, len(moved))
                self.present = None
                self.grant.end()
                return
            except (DatabaseError, InterfaceError) as error:
                log.warning("waiting for the database to take back jobs: %s", first_line(error))
                connection.close()
            self._heed()
            if self.stopping.is_set():
                give_up = give_up or time.monotonic() + conf().stop_grace_s
                if time.monotonic() > give_up:
                    return  # a housekeeper will take the lease for dead
            time.sleep(0.5)
