"""What becomes of slots that were missed. Pure."""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from jobs.cron import slot_text
from jobs.models import Schedule

MOST_SLOTS = 2000
"""Slots that one tick looks at, the latest; above any `catch_up_max`, and it bounds the memory."""


@dataclass(frozen=True)
class Due:
    """The due slots of one schedule, decided about together."""

    chosen: list[dt.datetime]
    dropped: int
    last: dt.datetime | None
    """The latest due slot, chosen or not; None when nothing is due."""


def decide(slots: Iterable[dt.datetime], *, now: dt.datetime, catch_up: str, most: int, on_time_s: float) -> Due:
    """Which of the due slots get a job, by the catch-up policy.

    A slot that is at most `on_time_s` late was not missed and always gets one. Of the missed ones
    `none` makes up for none, `last` for the latest, unless a later one is on time, and `all` for the
    latest `most`.
    """
    latest: deque[dt.datetime] = deque(maxlen=MOST_SLOTS)
    count = 0
    for slot in slots:
        latest.append(slot)
        count += 1
    limit = now - dt.timedelta(seconds=on_time_s)
    missed = [slot for slot in latest if slot < limit]
    on_time = [slot for slot in latest if slot >= limit]
    if catch_up == Schedule.CatchUp.ALL:
        made_up = missed[-most:] if most else []
    elif catch_up == Schedule.CatchUp.LAST and not on_time:
        made_up = missed[-1:]
    else:
        made_up = []
    chosen = made_up + on_time
    return Due(chosen, count - len(chosen), latest[-1] if latest else None)


def dropped_note(due: Due, catch_up: str) -> str:
    """A sentence for the schedule's page; empty when nothing was dropped."""
    if not due.dropped or due.last is None:
        return ""
    slots = "1 missed slot was" if due.dropped == 1 else f"{due.dropped} missed slots were"
    return f"{slots} dropped up to {slot_text(due.last)} (catch-up {catch_up})"
