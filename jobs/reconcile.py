"""Housekeeping: what crashes, outages and lost messages leave behind is mended from the database.

A turn, offered every second by each worker's parent and each scheduler, done by one at a time:

1. look at the beats of all leases (every housekeeper does, so that a new one need not start afresh);
2. take the turn: a row with an expiry (`leader.py`);
3. compare Redis' beat with the database's: whether either lost something, or another database uses this Redis;
4. end the leases of the dead;
5. promote what is due;
6. where Redis lost something push everything again; else find queued jobs that their list lost.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from dataclasses import dataclass

from django.db import DatabaseError, InterfaceError

from jobs import leases, process, queue, rebuild, transitions
from jobs.conf import conf
from jobs.database import atomic, connection
from jobs.leader import Leader, Taken, TakenOver
from jobs.lifecycle import Actor
from jobs.models import Lease
from jobs.refill import Refill
from jobs.sql import py_id

log = logging.getLogger("jobs.reconcile")

CHUNK = 500
"""Jobs a transaction: short ones do not disturb accepting."""

PROMOTE_S = 2.0
"""After so long the other duties have their turn before further jobs are promoted."""

REVOKED = "its lease was revoked"

PRETEND_STRANGER = "PRETEND_STRANGER"
"""For tests: a housekeeper with this variable set cannot see any horse's process."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one turn did."""

    promoted: int = 0
    expired: int = 0
    repushed: int = 0
    mirrored: int = 0
    epoch: int = 0


class Housekeeper:
    """One who offers to do the housekeeping. Keeps what it saw of each lease, by its own clock."""

    def __init__(self, name: str, *, is_passing: bool = False) -> None:
        """`is_passing`: it leaves after its turn, which does not count as a beat."""
        self.name = name
        self._is_passing = is_passing
        self._seen: dict[uuid.UUID, tuple[int, float]] = {}
        self._here = process.Place("", "") if os.environ.get(PRETEND_STRANGER) else process.place()
        self._leader = Leader(self._here)
        self._refill = Refill(self._leader)
        self._is_hurried = False
        """Whether more is due than one turn promotes."""

    def loop(self, stopping: threading.Event) -> None:
        """Offer a turn every `housekeeping_s` until told to stop; outages are waited out."""
        while not stopping.wait(0 if self._is_hurried else conf().housekeeping_s):
            self._is_hurried = False
            self.offer()
        connection.close()

    def offer(self) -> Report | None:
        """One turn if it is ours. An outage of the database starts every observation afresh."""
        try:
            return self.turn()
        except (DatabaseError, InterfaceError) as error:
            log.warning("housekeeping waits for the database: %s", str(error).strip().partition("\n")[0])
            self._seen.clear()
            connection.close()
        except Exception:
            log.exception("a turn of housekeeping failed; the next one follows")
        return None

    def turn(self, *, is_forced: bool = False, is_thorough: bool = False) -> Report | None:
        """One turn; None when it is somebody else's. Forced: wait for it. Thorough: with everything pushed again."""
        dead = self._dead_leases()  # 1
        is_passing = self._is_passing or is_forced
        taken = self._leader.wait() if is_forced else self._leader.take(is_counted=not is_passing)  # 2
        if taken is None:
            return None
        try:
            return self._work(taken, dead, is_thorough)
        except TakenOver:
            log.warning("housekeeper %s stopped in mid-turn: another one took over", self.name)
            return None
        finally:
            if is_passing:
                self._leader.give_back()

    def _work(self, taken: Taken, dead: dict[uuid.UUID, str], is_thorough: bool) -> Report:
        taken, found = self._refill.look(taken)  # 3
        expired = self._expire(dead, taken)  # 4
        promoted = self._promote(is_thorough)  # 5
        repushed, mirrored, epoch = self._refill.keep_up(taken, found, is_thorough)  # 6
        return Report(promoted, expired, repushed, mirrored, epoch)

    # --- the dead ---------------------------------------------------------------------------------

    def _dead_leases(self) -> dict[uuid.UUID, str]:
        """Leases to be ended, each with the reason."""
        now = time.monotonic()
        live = list(Lease.objects.filter(revoked_at__isnull=True))
        self._seen = {lease.id: self._seen.get(lease.id, (lease.beat, now)) for lease in live}
        dead: dict[uuid.UUID, str] = {}
        for lease in live:
            beat, since = self._seen[lease.id]
            if beat != lease.beat:
                self._seen[lease.id] = (lease.beat, now)
            elif now - since >= conf().lease_s:
                dead[lease.id] = f"its lease was not renewed for {conf().lease_s:g} s"
            if self._is_provably_dead(lease):
                if lease.horse_pid is not None and lease.horse_started is not None:
                    process.kill_leftovers(lease.id, lease.horse_pid, lease.horse_started)
                dead[lease.id] = "its process is no more"
        return dead

    def _is_provably_dead(self, lease: Lease) -> bool:
        """Whether we share a kernel and a PID namespace with the horse, and it and its parent are gone.

        While the parent lives the jobs are its own to move: it alone knows whether it killed the horse on
        purpose, and whom that is to be charged to.
        """
        if not self._here.boot_id or (lease.boot_id, lease.pid_namespace) != (
            self._here.boot_id,
            self._here.pid_namespace,
        ):
            return False
        if process.is_alive(lease.parent_pid, lease.parent_started):
            return False
        if lease.horse_pid is None or lease.horse_started is None:
            return True  # it dies with its parent (PDEATHSIG)
        return not process.is_alive(lease.horse_pid, lease.horse_started)

    def _expire(self, dead: dict[uuid.UUID, str], taken: Taken) -> int:
        """End the dead leases, and those that are running jobs though they were revoked or never were.

        Leases of the time before a restore crashed nothing: their processes were ended, or know another history.
        """
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT DISTINCT lease_id FROM jobs_job WHERE status = 'running' AND lease_id NOT IN"
                " (SELECT id FROM jobs_lease WHERE revoked_at IS NULL)"
            )
            for (lease_id,) in cursor.fetchall():
                dead.setdefault(py_id(lease_id), REVOKED)
        older: set[uuid.UUID] = set()
        if dead and taken.restored_to is not None:
            older = set(Lease.objects.filter(created_at__lte=taken.restored_to).values_list("pk", flat=True))
        count = 0
        for lease_id, why in dead.items():
            self._refill.keep()
            verdict = (
                leases.released if lease_id in older else leases.crashed(f"the attempt ended without a word: {why}")
            )
            moved = leases.end_lease(lease_id, verdict, actor=Actor.HOUSEKEEPING, who=self.name, rounds=1)
            rebuild.mend_mirrors_of(lease_id)
            count += len(moved)
            if not moved and why == REVOKED:
                continue  # others have locked what is left of it; the next turn looks again
            log.warning("lease %s is over, %s; %d jobs moved", lease_id, why, len(moved))
        return count

    def _promote(self, is_thorough: bool) -> int:
        began = time.monotonic()
        count = 0
        while True:
            self._refill.keep()
            with atomic():
                rows = transitions.promote_due(CHUNK, who=self.name)
            queue.push(rows)
            count += len(rows)
            if len(rows) < CHUNK:
                return count
            if not is_thorough and time.monotonic() - began > PROMOTE_S:
                self._is_hurried = True
                return count


def reconcile(*, is_thorough: bool = False) -> Report:
    """A turn now. Thorough, for the command: whoever is at work is waited for, and all is pushed again. Else, for
    `maintenance`: only where nobody does the housekeeping; who does leaves nothing to do."""
    housekeeper = Housekeeper("reconcile", is_passing=True)
    while is_thorough:
        if (report := housekeeper.turn(is_forced=True, is_thorough=True)) is not None:
            return report
    return housekeeper.turn() or Report()
