"""What becomes of due slots: which of them get a job, and which are dropped, and why. Pure."""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice

from jobs.cron import slot_text
from jobs.models import DroppedSlots, Schedule
from jobs.schedules.due import Due as Row
from jobs.schedules.slots import Times, slots_of

Because = DroppedSlots.Because

NEVER = dt.datetime(9999, 1, 1, tzinfo=dt.UTC)
"""When a schedule without further slots is due. Before the end of the calendar, so that any zone can show it."""

MOST_SLOTS = 2000
"""Slots that one tick looks at, the latest; above any `catch_up_max`, and it bounds the memory."""

GRACE_S = 2.0
"""How much longer than the interval between two ticks a slot may take and still be on time."""


@dataclass(frozen=True)
class Drop:
    """Slots next to each other that get no job."""

    because: Because
    first: dt.datetime
    last: dt.datetime
    count: int | None
    """None: too many to count."""

    detail: str

    def __str__(self) -> str:
        return self.detail


@dataclass(slots=True)
class Plan:
    """What a tick wants to do about one schedule; nothing of it has happened yet."""

    schedule: Row
    pointer: dt.datetime
    due_at: dt.datetime
    chosen: list[dt.datetime] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)


def plan(schedule: Row, now: dt.datetime, *, interval_s: float) -> Plan:
    """Decide about every slot in (pointer, now], by the catch-up policy. Raises BadCron.

    A schedule without a pointer starts at `now`: nothing is filled in from before. A slot that is at most
    the interval between two ticks and GRACE_S late was not missed and always gets a job. Of the missed ones
    `none` makes up for none, `last` for the latest, unless a later one is on time, and `all` for the latest
    `catch_up_max`; none of them for those that are older than the window.
    """
    if schedule.pointer is None:
        return Plan(schedule, now, next(slots_of(schedule, now), NEVER))
    on_time_s = interval_s + GRACE_S
    horizon = now - dt.timedelta(seconds=schedule.catch_up_window_s + on_time_s)
    drops = []
    start = schedule.pointer
    if start < horizon:
        too_old = list(islice(slots_of(schedule, start, horizon), MOST_SLOTS))
        drops += _beyond_window(schedule, too_old, horizon)
        start = horizon
    due = _due(Times.of(schedule), start, now)
    chosen = _chosen(schedule, due.latest, now - dt.timedelta(seconds=on_time_s))
    dropped = due.count - len(chosen)
    if due.first is not None and dropped:
        drops.append(_not_made_up(schedule, due.first, due.latest[len(due.latest) - len(chosen) - 1], dropped))
    return Plan(schedule, due.latest[-1] if due.latest else start, due.following, chosen, drops)


@dataclass(frozen=True)
class Due:
    first: dt.datetime | None
    latest: list[dt.datetime]
    count: int
    following: dt.datetime


@lru_cache(maxsize=1024)
def _due(times: Times, start: dt.datetime, now: dt.datetime) -> Due:
    """The slots in (start, now] and the one that follows. Many schedules of a tick share their times, and so this.
    Raises BadCron."""
    latest: deque[dt.datetime] = deque(maxlen=MOST_SLOTS)
    first, count, following = None, 0, NEVER
    if far := times.skippable(start, now, keep=MOST_SLOTS):
        first, count, start = far
    for slot in times.slots(start):
        if slot > now:
            following = slot
            break
        first = first or slot
        latest.append(slot)
        count += 1
    return Due(first, list(latest), count, following)


def _chosen(schedule: Row, slots: list[dt.datetime], limit: dt.datetime) -> list[dt.datetime]:
    missed = [slot for slot in slots if slot < limit]
    on_time = slots[len(missed) :]
    if schedule.catch_up == Schedule.CatchUp.ALL:
        return (missed[-schedule.catch_up_max :] if schedule.catch_up_max else []) + on_time
    if schedule.catch_up == Schedule.CatchUp.LAST and not on_time:
        return missed[-1:]
    return on_time


def _not_made_up(schedule: Row, first: dt.datetime, last: dt.datetime, count: int) -> Drop:
    slots = "1 missed slot was" if count == 1 else f"{count} missed slots were"
    detail = f"{slots} dropped up to {slot_text(last)} (catch-up {schedule.catch_up})"
    return Drop(Because.CATCH_UP, first, last, count, detail)


def _beyond_window(schedule: Row, slots: Iterable[dt.datetime], horizon: dt.datetime) -> list[Drop]:
    found = list(slots)
    if not found:
        return []
    is_all = len(found) < MOST_SLOTS
    detail = f"slots more than {schedule.catch_up_window_s} s old were dropped (catch-up window)"
    last = found[-1] if is_all else horizon
    return [Drop(Because.WINDOW, found[0], last, len(found) if is_all else None, detail)]


def failures_in_a_row(schedule: Row, statuses: dict[str, str]) -> int:
    """How many of the latest slots' jobs have failed, one after the other; `statuses` by job id.

    Jobs that are not over and cancelled ones say nothing; slots up to `streak_since` are not looked at.
    """
    since = slot_text(schedule.streak_since) if schedule.streak_since else ""
    count = 0
    for slot, job_id, _ in reversed(schedule.recent):
        status = statuses.get(job_id)
        if slot <= since or status in (None, "succeeded"):
            break
        count += status == "failed"
    return count


def superseded(slots: list[dt.datetime], newest: dt.datetime) -> Drop:
    detail = f"{len(slots)} slots before {slot_text(newest)} were superseded"
    return Drop(Because.SUPERSEDED, slots[0], slots[-1], len(slots), detail)
