"""Outcomes that cannot be recorded yet, because somebody else has locked a row that they change.

An operator's open transaction, or what is left of a dead connection, delays that job alone: the outcomes beside it are
recorded, and this one is tried again each second. Meanwhile its job still runs, for the database, under the lease.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from django.db import DatabaseError, InterfaceError

from jobs import stats, transitions
from jobs.database import atomic, connection
from jobs.outcome import Outcome
from jobs.sql import is_lock

log = logging.getLogger("jobs.commit")


class Waiting:
    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.sums: stats.Sums = {}
        """Statistics whose rows somebody else has locked."""

    def add(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            log.warning("job %s: its row is locked by somebody else, its outcome waits", outcome.row.id)
        self.outcomes += outcomes

    def try_outcomes(self, write: Callable[[Sequence[Outcome]], None]) -> Sequence[Outcome]:
        """`write` those whose rows nobody else has locked any more, in one transaction; which they are."""
        if not self.outcomes:
            return ()
        try:
            with atomic():
                free, held = apart(self.outcomes)
                write(free)
        except (DatabaseError, InterfaceError) as error:
            _wait_longer(error)
            return ()
        self.outcomes = list(held)
        return free

    def try_sums(self) -> None:
        if not self.sums:
            return
        try:
            with atomic():
                stats.store(self.sums)
            self.sums = {}
        except (DatabaseError, InterfaceError) as error:
            _wait_longer(error)


def apart(outcomes: Sequence[Outcome]) -> tuple[Sequence[Outcome], Sequence[Outcome]]:
    """Those whose rows are locked from now on by this transaction, and those whose rows somebody else has locked."""
    held = transitions.locked_elsewhere([outcome.ended for outcome in outcomes])
    if not held:
        return outcomes, ()
    return [o for o in outcomes if o.row.id not in held], [o for o in outcomes if o.row.id in held]


def _wait_longer(error: Exception) -> None:
    log.warning("what waits for locked rows waits longer: %s", str(error).strip().partition("\n")[0])
    if not is_lock(error):
        connection.close()
