"""One incarnation of a horse, as its parent keeps it: the lease renewed, the dead-man timer armed, the limits watched.

Renewing runs in a thread with a connection of its own that never waits for Redis. The timer is re-armed
from *before* each renewing statement, so it fires before anybody else may take the lease for dead.
"""

from __future__ import annotations

import logging
import subprocess
import threading
import time
import uuid
from collections.abc import Callable

from django.db import DatabaseError, InterfaceError

from jobs import failpoints, leases, process
from jobs.conf import conf
from jobs.database import connection
from jobs.foal import Foal
from jobs.grant import Grant

log = logging.getLogger("jobs.worker")

FENCE_SHARE, DEAD_MAN_SHARE = 11 / 15, 13 / 15
"""Shares of `lease_s` since the last renewal began: here the parent kills its horse, there the kernel both."""


class Incarnation:
    """One horse and its lease."""

    def __init__(
        self, lease_id: uuid.UUID, opened: float, worker: str, dead_man: process.DeadMan, grant: Grant
    ) -> None:
        self.lease_id = lease_id
        self.child: subprocess.Popen[bytes] | Foal | None = None
        self.is_revoked = False
        self.is_held_up = False
        """Whether a renewal was begun and the database has not committed it."""

        self.culprits: dict[uuid.UUID, str] = {}
        """Jobs past their hard limit."""

        self.killed = ""
        """Why the parent killed the horse; empty: it did not."""

        self.terminated_at = 0.0
        """When (`time.monotonic`) a signal that its parent did not send told the horse to stop; 0: none did."""

        self._worker = worker
        self._dead_man = dead_man
        self._grant = grant
        self._arming = threading.Lock()
        self._is_over = threading.Event()
        self._renewed = opened
        """`boottime()` from before the last renewal that was committed."""

    def age_s(self) -> float:
        """Seconds since the last renewal began."""
        return process.boottime() - self._renewed

    def arm(self) -> None:
        """Have the kernel kill this process in time, unless the horse has been reaped."""
        with self._arming:
            if not self._is_over.is_set():
                self._dead_man.arm(self._renewed + conf().lease_s * DEAD_MAN_SHARE)

    def is_reaped(self) -> None:
        """The horse is gone: nothing is renewed any more, and the timer rests."""
        with self._arming:
            self._is_over.set()
            self._dead_man.disarm()

    def keep(self) -> None:
        """Renew from now on, in a thread."""
        threading.Thread(target=self._loop, name="renewal", daemon=True).start()

    def _loop(self) -> None:
        """Renew while the horse exists and is not stopped; look for jobs past their hard limit each second."""
        next_renewal = time.monotonic() + conf().renew_s
        limits = leases.HardLimits(self.lease_id)
        while not self._is_over.wait(min(1.0, conf().renew_s)):
            if self.child is None or process.state(self.child.pid) in ("T", "t", "Z"):
                continue
            try:
                if time.monotonic() >= next_renewal:
                    self._renew()
                    next_renewal = time.monotonic() + conf().renew_s
                self.culprits.update(limits.passed(self._grant.running))
            except (DatabaseError, InterfaceError) as error:
                log.warning("worker %s could not renew its lease: %s", self._worker, first_line(error))
                connection.close()
        connection.close()

    def _renew(self) -> None:
        before = process.boottime()
        failpoints.hit("renew.before")
        self.is_held_up = True
        if not leases.renew(self.lease_id, self._grant.holds):
            self.is_revoked = True
            return
        failpoints.hit("renew.after_commit")
        self._renewed = before
        self.is_held_up = False
        if self.age_s() <= conf().lease_s * FENCE_SHARE:  # else the fence falls, and the timer stays as it is
            self.arm()


def first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def forgiving(function: Callable[..., object], *arguments: object, **options: object) -> None:
    """What is only for convenience must not fail the start."""
    try:
        function(*arguments, **options)
    except (DatabaseError, InterfaceError):
        connection.close()
