"""Housekeeping: what crashes, outages and lost messages leave behind is mended from the database.

A turn, offered every second by each worker's parent and each scheduler, done by one at a time:

1. look at the beats of all leases (every housekeeper does, so that a new one need not start afresh);
2. take the turn: a row with an expiry;
3. promote what is due;
4. end the leases of the dead;
5. compare Redis' beat with the database's: where it lost something, push everything again;
6. find queued jobs that their list lost.

Two housekeepers at once do no harm: every step is a compare-and-set.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from dataclasses import dataclass, replace

from django.db import DatabaseError, InterfaceError

from jobs import leases, process, queue, queue_names, rebuild, transitions
from jobs.conf import conf
from jobs.database import atomic, connection
from jobs.lifecycle import Actor
from jobs.models import Housekeeping, Lease
from jobs.models.clock import NOW, after
from jobs.sql import py_id

log = logging.getLogger("jobs.reconcile")

CHUNK = 500
"""Jobs a transaction: short ones do not disturb accepting."""

TURN_EXPIRES_S = 3.0
"""How long the turn stays with a housekeeper that no longer comes, for those who cannot see its process."""

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

    def __init__(self, name: str) -> None:
        self.name = name
        self._seen: dict[uuid.UUID, tuple[int, float]] = {}
        self._must_rebuild = False
        here = process.place()
        self._here = process.Place("", "") if os.environ.get(PRETEND_STRANGER) else here
        self._identity = f"{socket.gethostname()[:40]}/{here.boot_id}/{os.getpid()}/{process.started(os.getpid())}"

    def loop(self, stopping: threading.Event) -> None:
        """Offer a turn every `housekeeping_s` until told to stop; outages are waited out."""
        while not stopping.wait(conf().housekeeping_s):
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
        """One turn; None when it is somebody else's. Thorough: with everything pushed again."""
        dead = self._dead_leases()  # 1
        taken = self._take(is_forced)  # 2
        if taken is None:
            return None
        beat, epoch = taken
        report = Report(epoch=epoch)
        report = replace(report, promoted=self._promote())  # 3
        report = replace(report, expired=self._expire(dead))  # 4
        try:
            rebuilt = self._keep_up(beat, epoch, is_thorough)  # 5
            if rebuilt is not None:
                return replace(report, repushed=rebuilt.pushed, mirrored=rebuilt.mirrored, epoch=epoch + 1)
            repushed = sum(map(rebuild.repush_lost, queue_names.known())) if rebuild.is_any_queued() else 0  # 6
            return replace(report, repushed=repushed)
        except queue.OUTAGE as error:
            if not self._must_rebuild:
                log.warning(
                    "housekeeping cannot reach Redis (%s); queues are rebuilt when it is back", type(error).__name__
                )
            self._must_rebuild = True
            return report

    # --- whose turn -------------------------------------------------------------------------------

    def _take(self, is_forced: bool) -> tuple[int, int] | None:
        """(beat, epoch) when the turn is ours."""
        row = Housekeeping.objects.filter(pk=1).values_list("holder", "expires_at").first()
        if row is None:
            Housekeeping.objects.bulk_create([Housekeeping(pk=1)], ignore_conflicts=True)
            row = ("", None)
        holder = row[0]
        is_free = is_forced or holder in ("", self._identity) or self._is_gone(holder)
        # A turn that lasts longer than a turn may was taken before the clock was set back.
        is_over = f"(expires_at < {NOW} OR expires_at > {after()})"
        condition, bound = ("true", []) if is_free else (is_over, [TURN_EXPIRES_S])
        with connection.cursor() as cursor:
            if not is_free:
                cursor.execute(f"SELECT 1 FROM jobs_housekeeping WHERE id = 1 AND {condition}", bound)
                if cursor.fetchone() is None:
                    return None
            cursor.execute(
                f"UPDATE jobs_housekeeping SET holder = %s, expires_at = {after()}, beat = beat + 1"
                f" WHERE id = 1 AND holder = %s AND {condition} RETURNING beat, epoch",
                [self._identity, TURN_EXPIRES_S, holder, *bound],
            )
            taken = cursor.fetchone()
        return None if taken is None else (taken[0], taken[1])

    def _is_gone(self, holder: str) -> bool:
        """Whether the holder is a process of this machine that is no more."""
        try:
            _, boot_id, pid, started = holder.rsplit("/", 3)
            is_here = boot_id != "" and boot_id == self._here.boot_id
            return is_here and not process.is_alive(int(pid), int(started))
        except ValueError:
            return False

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
                    process.kill_orphans(lease.horse_pid, lease.horse_started)
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

    def _expire(self, dead: dict[uuid.UUID, str]) -> int:
        """End the dead leases, and those that are running jobs though they were revoked or never were."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT DISTINCT lease_id FROM jobs_job WHERE status = 'running' AND lease_id NOT IN"
                " (SELECT id FROM jobs_lease WHERE revoked_at IS NULL)"
            )
            for (lease_id,) in cursor.fetchall():
                dead.setdefault(py_id(lease_id), "its lease was revoked")
        count = 0
        for lease_id, why in dead.items():
            moved = leases.end_lease(
                lease_id, leases.crashed(f"the attempt ended without a word: {why}"),
                actor=Actor.HOUSEKEEPING, who=self.name,
            )  # fmt: skip
            rebuild.mend_mirrors_of(lease_id)
            count += len(moved)
            log.warning("lease %s is over, %s; %d jobs moved", lease_id, why, len(moved))
        return count

    def _promote(self) -> int:
        count = 0
        while True:
            with atomic():
                rows = transitions.promote_due(CHUNK, who=self.name)
            queue.push(rows)
            count += len(rows)
            if len(rows) < CHUNK:
                return count

    def _keep_up(self, beat: int, epoch: int, is_thorough: bool) -> rebuild.Rebuilt | None:
        """Compare the beats; what was rebuilt, if anything."""
        if not (self._must_rebuild or is_thorough or rebuild.is_behind(beat, epoch)):
            rebuild.copy_beat(beat, epoch)
            return None
        rebuilt = rebuild.everything(beat, epoch + 1)
        self._must_rebuild = False
        is_loss = rebuilt.pushed > 0 and not is_thorough
        log.log(
            logging.WARNING if is_loss else logging.INFO,
            "Redis is filled anew from the database%s: epoch %d, %d jobs pushed",
            " after a loss" if is_loss else "", epoch + 1, rebuilt.pushed,
        )  # fmt: skip
        return rebuilt


def reconcile(*, is_thorough: bool = False) -> Report:
    """One whole turn now, whoever's turn it is: for `maintenance` and, thorough, for the command."""
    housekeeper = Housekeeper("reconcile")
    while True:
        report = housekeeper.turn(is_forced=True, is_thorough=is_thorough)
        if report is not None:  # otherwise another one took the turn in this very moment
            return report
