"""Bring the rows of declared schedules in line with the code, when a scheduler starts.

What a person changed stays: such a row is marked as overridden and keeps its values until `revert`. Whether a
schedule is paused is not the code's affair, but for one whose declaration is gone: it is paused, and goes on when
the declaration is back.
"""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import IntegrityError

from jobs.errors import InvalidSchedule, JobsError, ScheduleNotFound
from jobs.models import Schedule
from jobs.schedules.declared import Declared, all_declared, find
from jobs.schedules.editing import STATED, pause, resume, store

CODE = "code"
"""Who is said to have changed a schedule that follows its declaration."""

GONE = "no longer declared in code"


def synchronise() -> list[str]:
    """What was done, and what could not be, in a sentence each. One that makes no sense does not stop the others."""
    rows = {row.name: row for row in Schedule.objects.all()}
    said = []
    for declared in all_declared():
        try:
            said.append(_synchronise(declared, rows.get(declared.name)))
        except ValidationError as error:
            said.append(f"the declared schedule {declared.name} is not valid: {error.message_dict}")
        except JobsError as error:
            said.append(f"the declared schedule {declared.name} is not valid: {error}")
    for row in rows.values():
        if row.is_declared and row.enabled and find(row.name) is None:
            pause(row.name, who=CODE, because=GONE)
            said.append(f"paused the schedule {row.name}: {GONE}")
    return [sentence for sentence in said if sentence]


def revert(name: str, *, who: str) -> bool:
    """Give a declared schedule the code's values back; whether that changed anything.

    Raises ScheduleNotFound, InvalidSchedule for one that no code declares, and ValidationError.
    """
    row = Schedule.objects.filter(name=name).first()
    if row is None:
        raise ScheduleNotFound(f"there is no schedule {name!r}")
    declared = find(name)
    if declared is None or not row.is_declared:
        raise InvalidSchedule(f"{name} is not declared in code, so there is nothing to go back to")
    was_overridden = row.is_overridden
    is_changed = store(_wanted(declared, row), who=who, by_code=True)
    Schedule.objects.filter(pk=row.pk).update(is_overridden=False)  # also where the values were the code's already
    return is_changed or was_overridden


def _synchronise(declared: Declared, row: Schedule | None) -> str:
    if row is None:
        new = Schedule(name=declared.name, type=declared.type, is_declared=True, **declared.options)
        try:
            store(new, who=CODE, by_code=True)
        except IntegrityError:
            return ""  # another scheduler started in the same moment
        return f"created the declared schedule {declared.name}"
    if not row.is_declared:
        return ""  # a person made one under this name: it is theirs
    is_back = row.paused_because == GONE and resume(row.name, who=CODE)
    row.enabled = row.enabled or is_back
    if not row.is_overridden and store(_wanted(declared, row), who=CODE, by_code=True):
        return f"changed the schedule {declared.name} as its declaration"
    return f"resumed the schedule {declared.name}: its declaration is back" if is_back else ""


def _wanted(declared: Declared, row: Schedule) -> Schedule:
    """The row with what the code says; what it leaves open has its default, but an anchor is kept."""
    stated = Schedule(name=row.name, type=declared.type, **declared.options)
    for column in STATED:
        if column != "anchor" or column in declared.options:
            setattr(row, column, getattr(stated, column))
    return row
