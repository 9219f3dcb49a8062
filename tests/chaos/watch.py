"""Looks at the system from outside while it is broken: housekeeping, epochs of Redis, memory, ends of workers."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

from django.db import DatabaseError, InterfaceError, connection

from tests.chaos.history import History
from tests.chaos.site import Site

LOOK_S = 0.5


class Watcher(threading.Thread):
    """Notes each change of the housekeeping row, by the harness's own connection."""

    def __init__(self, site: Site, history: History) -> None:
        super().__init__(name="watcher", daemon=True)
        self.site, self.history = site, history
        self.stopping = threading.Event()
        self._last: tuple[int, int, str] | None = None

    def run(self) -> None:
        while not self.stopping.wait(LOOK_S):
            try:
                self._look()
            except (DatabaseError, InterfaceError):
                connection.close()
        connection.close()

    def _look(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT beat, epoch, holder FROM jobs_housekeeping WHERE id = 1")
            found = cursor.fetchone()
        if found is None or tuple(found) == self._last:
            return
        beat, epoch, holder = self._last or found
        if found[1] != epoch:
            self.history.note("watcher", "epoch", before=epoch, after=found[1])
        if found[2] not in ("", holder):
            self.history.note("watcher", "holder", holder=found[2])
        if found[0] != beat:
            self.history.note("watcher", "beat", beat=found[0])
        self._last = tuple(found)


def memory_mib(pid: int | None) -> float:
    """Resident memory of a process; 0 when it has gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0.0


def commands_a_second(site: Site, seconds: float) -> float:
    """Commands that Redis is given in a while, the harness's own two left out."""
    with site.redis() as redis:
        before = redis.info("stats")["total_commands_processed"]
        time.sleep(seconds)  # the length of the while is what is counted over
        after = redis.info("stats")["total_commands_processed"]
    return float(after - before - 1) / seconds
