"""The horses of one worker: one, or several that share its threads, since one interpreter keeps one core busy.

Each has a supervisor, and so a lease and a dead-man timer, of its own: what befalls one leaves the jobs of the others alone.
The first supervisor belongs to the main thread, each further one to a thread that lives as long as it does: a horse dies
with the thread that started it (PDEATHSIG).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import replace

from django.db import connection

from jobs import process
from jobs.conf import conf
from jobs.supervise import Options, Supervisor

THREADS_A_HORSE = 25
"""More threads than so many are worth another process, where there is a core for it and nobody says how many."""


class Team:
    def __init__(self, options: Options, horses: int = 0) -> None:
        """`horses`: as many, but no more than threads; 0: what the settings say."""
        self.stopping = threading.Event()
        """Set when told to stop."""

        self.supervisors = [Supervisor(share, self.stopping) for share in shares(options, horses or conf().horses)]
        self._exit_codes: list[int] = []

    def run(self) -> int:
        """Until all of them are done; the worst of their exit codes. Belongs to the main thread."""
        first, *others = self.supervisors
        threads = [threading.Thread(target=self._run, args=(s,), name=f"horse-{n}") for n, s in enumerate(others, 2)]
        with process.hearing_of_children(self._wake):
            for thread in threads:
                thread.start()
            self._run(first)
            for thread in threads:
                thread.join()
        return max(self._exit_codes, key=abs)

    def _run(self, supervisor: Supervisor) -> None:
        exit_code = 1
        try:
            exit_code = supervisor.run()
        finally:
            self._exit_codes.append(exit_code)
            connection.close()
            options = supervisor.options
            has_end = options.is_burst or options.max_idle_s
            if not has_end and not any(other.stop_wishes for other in self.supervisors):
                self.stop()  # a worker that goes on with some of its threads would look whole

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


def shares(options: Options, horses: int = 0) -> Iterator[Options]:
    """What each horse gets: threads evenly. Where jobs are counted there is one, since two would count apart."""
    cores = len(os.sched_getaffinity(0)) if process.IS_LINUX else os.cpu_count() or 1
    count = horses or min(cores, -(-options.concurrency // THREADS_A_HORSE))
    count = 1 if options.max_jobs or options.only else min(count, options.concurrency)
    for number in range(count):
        yield replace(options, concurrency=options.concurrency // count + (number < options.concurrency % count))
