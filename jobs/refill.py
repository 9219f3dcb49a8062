"""Refill: what a turn of housekeeping does for Redis. A rebuild is for a loss only; anything less is repaired job by job."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from jobs import loss, queue, queue_names, rebuild
from jobs.conf import conf
from jobs.leader import Leader, Taken
from jobs.loss import Found, Look

log = logging.getLogger("jobs.reconcile")

REMIND_S = 600.0
"""How often the log names a database that uses the same Redis."""

AFTER = {
    Found.LOST: " after a loss",
    Found.LEFT: " after another database, or another state of this one, used it",
}


class Refill:
    """One housekeeper's view of Redis."""

    def __init__(self, leader: Leader) -> None:
        self._leader = leader
        self._is_ours = False
        """Whether Redis answers, and serves this database."""

        self._away_since: float | None = None
        self._reminded_at = float("-inf")

    def keep(self) -> None:
        """Between the steps of what may take long: keep the turn, and Redis. Raises TakenOver."""
        if self._leader.keep() and self._is_ours:
            loss.stay_alive(self._leader.identity)

    def look(self, taken: Taken) -> tuple[Taken, Look | None]:
        """What Redis is, None while it is away; and the row, which changes where the database was restored."""
        look = None
        try:
            look = loss.look(taken.beat, taken.epoch, taken.mark, self._is_no_rival)
        except queue.OUTAGE as error:
            self._note_outage(error)
        if look is not None and look.found is Found.AHEAD:
            taken, look = self._begin_history(taken, look)
        self._is_ours = look is not None and look.found is not Found.RIVAL
        return taken, look

    def keep_up(self, taken: Taken, look: Look | None, is_thorough: bool) -> tuple[int, int, int]:
        """(jobs pushed, mirrors written, epoch)."""
        if look is not None and look.found is Found.RIVAL:
            self._remind()
        elif look is not None:
            try:
                if look.found is Found.WELL and not is_thorough:
                    return self._push_lost(taken), 0, taken.epoch
                return self._rebuild(taken, look)
            except queue.OUTAGE as error:
                self._note_outage(error)
        return 0, 0, taken.epoch

    def _push_lost(self, taken: Taken) -> int:
        loss.copy_beat(taken.beat, taken.epoch, taken.mark, self._leader.identity)
        self._leader.told(taken.beat)
        count = 0
        if self._away_since is not None:
            away_s = time.monotonic() - self._away_since
            count = rebuild.push_since(away_s + conf().lost_margin_s, self.keep)
            log.info("Redis answered again: pushed what was queued meanwhile; away_s=%.0f jobs=%d", away_s, count)
            self._away_since = None
        if rebuild.is_any_queued():
            count += sum(rebuild.repush_lost(name, self.keep) for name in queue_names.known())
        return count

    def _rebuild(self, taken: Taken, look: Look) -> tuple[int, int, int]:
        epoch = max(taken.epoch, look.epoch) + 1
        self._leader.raise_epoch(epoch)
        rebuilt = rebuild.everything(taken.beat, epoch, taken.mark, self._leader.identity, self.keep)
        self._leader.told(taken.beat)
        self._away_since = None
        is_loss = rebuilt.pushed > 0 and look.found is not Found.WELL
        log.log(
            logging.WARNING if is_loss else logging.INFO,
            "Redis was filled from the database%s: epoch=%d pushed=%d",
            AFTER[look.found] if is_loss else "", epoch, rebuilt.pushed,
        )  # fmt: skip
        return rebuilt.pushed, rebuilt.mirrored, epoch

    def _begin_history(self, taken: Taken, look: Look) -> tuple[Taken, Look]:
        """The database was restored: it goes on as another one, since the one that Redis knows may live beside it."""
        mark = self._leader.begin_history(taken.before)
        log.error(
            "the database is older than Redis: it was restored. Its jobs that ran at the time of the backup are released:"
            " epoch=%d beat=%d redis_epoch=%d redis_beat=%d", taken.epoch, taken.beat, look.epoch, look.beat,
        )  # fmt: skip
        found = Found.RIVAL if look.owner and not self._is_no_rival(look.owner) else Found.LEFT
        return replace(taken, mark=mark, restored_to=taken.before), replace(look, found=found)

    def _is_no_rival(self, identity: str) -> bool:
        return self._leader.is_of_this_process(identity) or self._leader.is_gone(identity)

    def _note_outage(self, error: Exception) -> None:
        if self._away_since is None:
            log.warning("housekeeping did not reach Redis (%s)", type(error).__name__)
            self._away_since = time.monotonic()

    def _remind(self) -> None:
        """Name a rival, once and then rarely."""
        if time.monotonic() - self._reminded_at < REMIND_S:
            return
        try:
            sentence = loss.rival()
        except queue.OUTAGE:
            return
        if sentence is not None:
            self._reminded_at = time.monotonic()
            log.error("%s. Jobs of this database run without Redis; give it a database number of its own", sentence)
