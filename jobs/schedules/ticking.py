"""The tick: every due slot is decided about exactly once, whoever ticks and how often.

A turn of a scheduler, for many schedules at a time:

1. read those that are due, and plan what becomes of their slots;
2. in one transaction: lock their rows, and let go those that somebody else ticked or changed meanwhile;
3. apply what depends on jobs (failures in a row, overlap), and submit;
4. move the pointers, and record what was created and what was dropped.

What the commit did not take is decided about anew by the next tick. A slot's key makes sure that it has
one job even where its schedule's pointer went back.
"""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from jobs import queue
from jobs.cron import BadCron
from jobs.database import atomic, connection
from jobs.models import Schedule, clock
from jobs.schedules.carrying import carry_out
from jobs.schedules.clockwatch import ClockWatch
from jobs.schedules.due import Due, due_ids, moment, read
from jobs.schedules.policies import Plan, plan
from jobs.sql import for_update, is_lock, is_outage, py_id

log = logging.getLogger("jobs.schedules")

CHUNK = 500
"""Schedules a commit: on SQLite it holds the only write lock, for some 40 ms; what waits for it gets it between two."""

LOOK_AGAIN = dt.timedelta(minutes=5)
"""After which a schedule that makes no sense is tried, and complained about, again."""


class Ticker:
    """Ticks all due schedules, by one indexed query a turn where nothing is due."""

    def __init__(
        self,
        interval_s: float,
        name: str = "scheduler",
        *,
        now: Callable[[], dt.datetime] = clock.now,
        steady_s: Callable[[], float] | None = None,
    ) -> None:
        self._interval_s = interval_s
        self._now = now
        self._watch = ClockWatch(name, steady_s)

    def turn(self) -> int:
        """Tick what is due; the number of jobs created. A schedule that makes no sense does not stop the others."""
        now = self._now()
        if not self._watch.may_tick(now):
            return 0
        ids = due_ids(now)
        if not ids:
            return 0
        with queue.pushing_aside():
            return sum(len(self._tick(read(ids[at : at + CHUNK]), now)) for at in range(0, len(ids), CHUNK))

    def _tick(self, schedules: Sequence[Due], now: dt.datetime) -> list[uuid.UUID]:
        try:
            return _carry_out([p for s in schedules if (p := _plan(s, now, self._interval_s)) is not None], now)
        except Exception as error:
            if is_outage(error) and not is_lock(error):
                raise  # the database, not a schedule
            if middle := len(schedules) // 2:
                return self._tick(schedules[:middle], now) + self._tick(schedules[middle:], now)
            if is_lock(error):  # of the job that it is to cancel, or of a key
                log.warning("schedule %s is ticked later: a row that it needs is locked", schedules[0].name)
                return []
            log.exception("schedule %s could not be ticked", schedules[0].name)
            _put_off(schedules[0], now)
            return []


def tick(schedule: Schedule, now: dt.datetime, *, interval_s: float = 1.0) -> list[uuid.UUID]:
    """Decide about every slot of one schedule up to `now`; ids of the jobs that this call created. Raises BadCron."""
    return _carry_out([plan(Due.of(schedule), now, interval_s=interval_s)], now)


def _plan(schedule: Due, now: dt.datetime, interval_s: float) -> Plan | None:
    try:
        return plan(schedule, now, interval_s=interval_s)
    except BadCron as error:
        log.error("schedule %s cannot be ticked until it is changed: %s", schedule.name, error)
        _put_off(schedule, now)
        return None


def _put_off(schedule: Due, now: dt.datetime) -> None:
    """A schedule that fails must not be in the way of others each second."""
    Schedule.objects.filter(pk=schedule.pk, version=schedule.version).update(due_at=now + LOOK_AGAIN)


def _carry_out(plans: Sequence[Plan], now: dt.datetime) -> list[uuid.UUID]:
    if not plans:
        return []
    with atomic():
        return carry_out(_locked(plans), now)


def _locked(plans: Sequence[Plan]) -> list[Plan]:
    """Those whose row nobody ticked or changed since it was read. The locks end with the transaction, whose first
    statement this is; on SQLite that holds the write lock from its beginning."""
    ids = ", ".join(str(plan.schedule.pk) for plan in plans)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, version, pointer, buffered_slot, last_job_id FROM jobs_schedule"
            f" WHERE id IN ({ids}) AND enabled ORDER BY id{for_update(skip_locked=True)}"
        )
        rows = {raw[0]: raw[1:] for raw in cursor.fetchall()}
    return [wanted for wanted in plans if wanted.schedule.pk in rows and _is_fresh(wanted, *rows[wanted.schedule.pk])]


def _is_fresh(plan: Plan, version: int, pointer: Any, buffered_slot: Any, last_job_id: Any) -> bool:
    """Whether the row is still the one that was planned with. A run by hand does not fence a tick, so the latest job
    is taken from the locked row."""
    row = plan.schedule
    if (version, moment(pointer), moment(buffered_slot)) != (row.version, row.pointer, row.buffered_slot):
        return False
    if last_job_id is not None and (latest := py_id(last_job_id)) != row.last_job_id:
        plan.schedule = row._replace(last_job_id=latest)
    return True
