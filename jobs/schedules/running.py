"""Jobs of a schedule that a person asks for: one now, or those of the slots of a range."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from itertools import islice

from jobs.cron import BadCron, slot_text
from jobs.database import atomic
from jobs.documents import isotime
from jobs.errors import InvalidSchedule, JobsError
from jobs.models import IdempotencyKey, Schedule, clock
from jobs.schedules.editing import YEARS, locked
from jobs.schedules.slots import CLIENT, key_of, request_of, slots_of
from jobs.submission import Outcome, Submitted, submit_many

MOST_BACKFILL = 1000
"""Slots of one back-fill: one commit."""


@dataclass(frozen=True)
class Backfill:
    """What a back-fill would do, or did."""

    new: list[dt.datetime]
    known: list[dt.datetime]
    """Slots that have a job already."""


def run_now(name: str, *, who: str) -> Submitted:
    """Create a job of the schedule at once, whatever its policies say, paused or not.

    Its key holds the present with milliseconds, which no slot has. Raises ScheduleNotFound, and what
    `submit` raises.
    """
    with atomic():
        schedule = locked(name)
        request = request_of(schedule, f"schedule:{schedule.name}:{isotime(clock.now())}")
        (outcome,) = submit_many([request])
        if isinstance(outcome, JobsError):
            raise outcome
        Schedule.objects.filter(pk=schedule.pk).update(
            last_job_id=outcome.id, last_note=f"run by {who} at {isotime(clock.now())}"
        )
    return outcome


def preview(schedule: Schedule, start: dt.datetime, end: dt.datetime) -> Backfill:
    """The slots in [start, end], by whether they have a job. Raises InvalidSchedule for a range that makes no sense."""
    if start.year not in YEARS:
        raise InvalidSchedule(f"the range begins in none of the years {YEARS[0]} to {YEARS[-1]}")
    if start > end:
        raise InvalidSchedule("the range ends before it begins")
    if end > clock.now():
        raise InvalidSchedule("the range ends in the future: those slots come by themselves")
    after = start - dt.timedelta(microseconds=1)
    try:
        slots = list(islice(slots_of(schedule, after, end), MOST_BACKFILL + 1))
    except BadCron as error:
        raise InvalidSchedule(str(error)) from None
    if len(slots) > MOST_BACKFILL:
        raise InvalidSchedule(
            f"there are more than {MOST_BACKFILL:,} slots in that range; "
            f"the first {MOST_BACKFILL:,} end at {slot_text(slots[-2])}"
        )
    keys = {key_of(schedule, slot): slot for slot in slots}
    used = set(IdempotencyKey.objects.filter(client=CLIENT, key__in=keys).values_list("key", flat=True))
    return Backfill(
        [slot for key, slot in keys.items() if key not in used], [slot for key, slot in keys.items() if key in used]
    )


def backfill(name: str, start: dt.datetime, end: dt.datetime, *, who: str) -> Backfill:
    """Create the jobs of all slots in [start, end] that have none, in one commit, whatever the policies say.

    Neither the pointer nor the overlap policy looks at them. Raises ScheduleNotFound, InvalidSchedule, and what
    `submit` raises.
    """
    with atomic():
        schedule = locked(name)
        wanted = preview(schedule, start, end)
        outcomes: list[Outcome] = submit_many([request_of(schedule, key_of(schedule, slot)) for slot in wanted.new])
        for outcome in outcomes:
            if isinstance(outcome, JobsError):
                raise outcome
        if wanted.new:
            note = f"{len(wanted.new)} slots from {slot_text(wanted.new[0])} to {slot_text(wanted.new[-1])}"
            Schedule.objects.filter(pk=schedule.pk).update(last_note=f"{note} were back-filled by {who}")
    return wanted
