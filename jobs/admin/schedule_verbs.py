"""What an operator may do to a schedule besides editing it, each recorded with the operator's name."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.models import AbstractBaseUser

from jobs import schedules
from jobs.admin.actions import record
from jobs.models import Schedule

PERMISSIONS = {
    "run": "jobs.run_schedule",
    "pause": "jobs.change_schedule",
    "resume": "jobs.change_schedule",
    "revert": "jobs.change_schedule",
}

VERBS = {
    "run": ("Run now", "creates a job at once, whatever the schedule's policies say"),
    "pause": ("Pause", "creates no more jobs until it is resumed"),
    "resume": ("Resume", "goes on from the present; slots of the pause are not made up for"),
    "revert": ("Back to the code", "is given the values that the code declares; what was changed here is lost"),
}


def _run(schedule: Schedule, user: AbstractBaseUser) -> str:
    submitted = schedules.run_now(schedule.name, who=user.get_username())
    record(user, schedule, f"run now: job {submitted.id}", schedule.name)
    return f"created the job {submitted.id}."


def _pause(schedule: Schedule, user: AbstractBaseUser) -> str:
    return _turn(schedule, user, schedules.pause, "paused")


def _resume(schedule: Schedule, user: AbstractBaseUser) -> str:
    return _turn(schedule, user, schedules.resume, "resumed")


def _turn(schedule: Schedule, user: AbstractBaseUser, turn: Callable[..., bool], word: str) -> str:
    if not turn(schedule.name, who=user.get_username()):
        return f"was {word} already."
    record(user, schedule, word, schedule.name)
    return f"is {word}."


def _revert(schedule: Schedule, user: AbstractBaseUser) -> str:
    if not schedules.revert(schedule.name, who=user.get_username()):
        return "is as the code has it already."
    record(user, schedule, "given the code's values back", schedule.name)
    return "is as the code has it."


DO: dict[str, Callable[[Schedule, AbstractBaseUser], str]] = {
    "run": _run,
    "pause": _pause,
    "resume": _resume,
    "revert": _revert,
}


def pointless(schedule: Schedule) -> set[str]:
    """Verbs that would change nothing."""
    return {"resume" if schedule.enabled else "pause"} | (set() if schedule.is_overridden else {"revert"})
