"""How schedules are made and changed: by the admin, by `manage.py schedules`, and in code.

Each change raises the row's version, which makes a tick that read the old row do nothing. Whatever
changes when a schedule is due starts it anew from the present: no slot from before is made up for.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pydantic
from django.core.exceptions import ValidationError
from django.db.models import F, Q
from django.db.models.expressions import DatabaseDefault

from jobs import cron, registry
from jobs.conf import conf
from jobs.cron import BadCron
from jobs.database import atomic
from jobs.errors import InvalidSchedule, JobsError, ScheduleNotFound, UnknownType
from jobs.models import Schedule, clock
from jobs.schedules import declared
from jobs.schedules.carrying import RECENT
from jobs.schedules.slots import request_of

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

MOST_CATCH_UP = 1000
MOST_WINDOW_S = 31 * 86_400
"""A month of slots a minute is what one tick can look at in well under a second."""

MOST_EVERY_S = 366 * 86_400
MOST_JITTER_S = 86_400

YEARS = range(1900, 9999)
"""Of times that a person states: near the calendar's ends no zone can be reckoned with."""

MOST_IN_A_ROW = RECENT
"""More failures in a row than a schedule remembers slots cannot be counted."""

TIMING = ("cron", "every_s", "time_zone", "anchor", "starts_at", "ends_at")
STATED = (
    "type", "payload", "queue", "cron", "every_s", "anchor", "time_zone", "starts_at", "ends_at", "catch_up",
    "catch_up_window_s", "catch_up_max", "overlap", "jitter_s", "pause_after_failures",
)  # fmt: skip
"""What code may declare of a schedule, and a person override."""

EDITABLE = (*STATED, "enabled", "is_declared")


def validate(schedule: Schedule) -> None:
    """Raise Django's ValidationError, with a message for each field that makes no sense."""
    errors: dict[str, str] = {}
    if not NAME.fullmatch(schedule.name or ""):
        errors["name"] = "A name is letters, digits, '.', '_' and '-', at most 100."
    errors |= _timing_errors(schedule) | _job_errors(schedule)
    for column, low, high in (
        ("catch_up_window_s", 0, MOST_WINDOW_S),
        ("catch_up_max", 0, MOST_CATCH_UP),
        ("jitter_s", 0, MOST_JITTER_S),
        ("pause_after_failures", 0, MOST_IN_A_ROW),
    ):
        value = getattr(schedule, column)
        if not isinstance(value, int) or not low <= value <= high:
            errors[column] = f"Give a whole number from {low} to {high:,}."
    if schedule.catch_up not in Schedule.CatchUp.values:
        errors["catch_up"] = f"Choose one of {', '.join(Schedule.CatchUp.values)}."
    if schedule.overlap not in Schedule.Overlap.values:
        errors["overlap"] = f"Choose one of {', '.join(Schedule.Overlap.values)}."
    if schedule.starts_at and schedule.ends_at and schedule.ends_at <= schedule.starts_at:
        errors["ends_at"] = "The end lies after the start."
    if errors:
        raise ValidationError(errors)


def _timing_errors(schedule: Schedule) -> dict[str, str]:
    errors = {}
    try:
        cron.zone_of(schedule.time_zone)
    except BadCron as error:
        errors["time_zone"] = str(error)
    for column in ("anchor", "starts_at", "ends_at"):
        moment = getattr(schedule, column)
        if isinstance(moment, dt.datetime) and moment.year not in YEARS:
            errors[column] = f"Give a time of the years {YEARS[0]} to {YEARS[-1]}."
    if bool(schedule.cron) == (schedule.every_s is not None):
        errors["cron"] = "Give either a cron expression or an interval, not both."
    elif schedule.cron:
        try:
            cron.parse(schedule.cron)
        except BadCron as error:
            errors["cron"] = str(error)
    elif not isinstance(schedule.every_s, int) or not 1 <= schedule.every_s <= MOST_EVERY_S:
        errors["every_s"] = f"Give a whole number of seconds from 1 to {MOST_EVERY_S:,}."
    return errors


def _job_errors(schedule: Schedule) -> dict[str, str]:
    """Whether the job of a slot would be accepted."""
    errors = {}
    if schedule.queue and schedule.queue not in conf().queues:
        errors["queue"] = f"There is no queue {schedule.queue!r}; there are {', '.join(conf().queues)}."
    try:
        model = registry.get(schedule.type).payload
    except UnknownType as error:
        return errors | {"type": str(error)}
    if not isinstance(schedule.payload, dict):
        return errors | {"payload": "A payload is a JSON object."}
    try:
        request_of(schedule, "schedule:check")
        if model is not None:
            model.model_validate(schedule.payload)
    except pydantic.ValidationError as error:
        errors["payload"] = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'payload'}: {problem['msg']}" for problem in error.errors()
        )
    except JobsError as error:
        details = [entry["detail"] for entry in getattr(error, "errors", [])]
        errors["payload"] = "; ".join(details) or str(error)
    return errors


def store(schedule: Schedule, *, who: str, by_code: bool = False) -> bool:
    """Validate and save; whether anything changed. A new schedule starts at the present.

    `schedule` is the row as it is wanted, found by its id or, without one, by its name, which is
    never changed. What ticks wrote (pointer, last job, note) is left alone. Raises ValidationError, and IntegrityError when a new one's name was taken in the same moment.
    """
    validate(schedule)
    with atomic():
        known = Q(pk=schedule.pk) if schedule.pk else Q(name=schedule.name)
        old = Schedule.objects.select_for_update().filter(known).first()
        if old is None:
            schedule.pointer = clock.now()
            schedule.changed_by = who
            schedule.save(force_insert=True)
            return True
        changes = _differences(old, schedule)
        if not changes:
            return False
        _change(old, changes, who=who, by_code=by_code)
    return True


def _differences(old: Schedule, wanted: Schedule) -> dict[str, Any]:
    """What was stated otherwise; a column left to the database's default states nothing."""
    stated = {name: getattr(wanted, name) for name in EDITABLE}
    return {
        name: value
        for name, value in stated.items()
        if not isinstance(value, DatabaseDefault) and value != getattr(old, name)
    }


def _change(old: Schedule, changes: dict[str, Any], *, who: str, by_code: bool = False) -> None:
    changes = {**changes, "due_at": None}
    if any(name in changes for name in TIMING) or changes.get("enabled"):
        now = clock.now()
        changes |= {"pointer": now, "streak_since": now, "buffered_slot": None}
    if "enabled" in changes:
        changes.setdefault("paused_because", "" if changes["enabled"] else f"by {who}"[:200])
    if by_code:
        changes["is_overridden"] = False
    elif old.is_declared and any(name in STATED for name in changes):
        changes["is_overridden"] = True
    Schedule.objects.filter(pk=old.pk).update(version=F("version") + 1, changed_by=who, **changes)


def pause(name: str, *, who: str, because: str = "") -> bool:
    """Create no more jobs; whether that changed anything. Raises ScheduleNotFound."""
    changes = {"enabled": False} | ({"paused_because": because} if because else {})
    return _turn(name, changes, who=who)


def resume(name: str, *, who: str) -> bool:
    """Go on from the present: slots of the pause are not made up for. Raises ScheduleNotFound."""
    return _turn(name, {"enabled": True}, who=who)


def _turn(name: str, changes: dict[str, Any], *, who: str) -> bool:
    with atomic():
        schedule = locked(name)
        if schedule.enabled == changes["enabled"]:
            return False
        _change(schedule, changes, who=who)
    return True


def remove(name: str) -> None:
    """Delete the schedule; its jobs stay. Raises ScheduleNotFound, or InvalidSchedule for a declared one."""
    with atomic():
        schedule = locked(name)
        if declared.is_declared(schedule):
            raise InvalidSchedule(f"{name} is declared in code and would come back: pause it instead")
        schedule.delete()


def locked(name: str) -> Schedule:
    """The row, locked by the caller's transaction. Raises ScheduleNotFound."""
    is_name = NAME.fullmatch(name) is not None  # a database may refuse to look for what is none
    schedule = Schedule.objects.select_for_update().filter(name=name).first() if is_name else None
    if schedule is None:
        raise ScheduleNotFound(f"there is no schedule {name!r}")
    return schedule
