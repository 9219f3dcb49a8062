"""What an operator may do to jobs: asked of the lifecycle table, done by `operate`, recorded twice.

Each action is recorded as the transition's event, under the operator's name, and in Django's own log,
in one commit. Which actions a status offers is `lifecycle.events_for(status, OPERATOR)`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, PermissionsMixin
from django.contrib.contenttypes.models import ContentType
from django.db import OperationalError, models

from jobs import lifecycle, operate
from jobs.database import atomic
from jobs.errors import JobNotFound, NotAllowed
from jobs.lifecycle import Actor, Event, Status
from jobs.models import Job
from jobs.sql import is_lock

User = AbstractBaseUser | AnonymousUser


@dataclass(frozen=True)
class Action:
    """One verb of an operator. `request_cancel` and `cancel` are the same verb in different statuses."""

    name: str
    events: tuple[Event, ...]
    label: str
    ask: str
    run: Callable[..., Event]

    @property
    def permission(self) -> str:
        return f"jobs.{self.name}_job"

    def consequences(self, statuses: Iterable[str]) -> list[str]:
        """What happens to jobs in these statuses: one sentence for each event that applies to them."""
        present = set(statuses)
        return [
            f"A job that is {' or '.join(_words(source) for source in row.sources)} {DONE[row.event]}."
            for row in (lifecycle.TRANSITIONS[event] for event in self.events)
            if present.intersection(row.sources)
        ]

    @property
    def sources(self) -> list[Status]:
        return lifecycle.sources_of(*self.events)


ACTIONS = {
    action.name: action
    for action in (
        Action("promote", (Event.PROMOTE,), "Run now", "Run now, before its time", operate.promote),
        Action("cancel", (Event.CANCEL, Event.REQUEST_CANCEL), "Cancel", "Cancel", operate.cancel),
        Action("rerun", (Event.RERUN,), "Run again", "Run again", operate.rerun),
    )
}
"""By name. Settling is not among them: it needs a verdict about an effect, see `effects.py`."""

DONE = {
    Event.PROMOTE: "is due now",
    Event.CANCEL: "is cancelled",
    Event.REQUEST_CANCEL: "is asked to stop; its attempt ends when its handler sees it, or at its timeout",
    Event.RERUN: "is queued again, with fresh allowances",
}


def may(user: User, action: Action) -> bool:
    return isinstance(user, PermissionsMixin) and user.has_perm(action.permission)


def offered(job: Job, user: User) -> list[Action]:
    """The actions that the job's status allows an operator and that this user has the permission for."""
    events = set(lifecycle.events_for(job.status, Actor.OPERATOR))
    return [action for action in ACTIONS.values() if events.intersection(action.events) and may(user, action)]


@dataclass(frozen=True)
class Outcome:
    """What became of one action on one job: an event, or the reason why nothing happened."""

    job_id: uuid.UUID
    event: Event | None
    sentence: str


def act(action: Action, job_id: uuid.UUID, user: AbstractBaseUser) -> Outcome:
    """Do it and record it. A job that moved meanwhile is an ordinary outcome, not an error."""
    try:
        with atomic():
            event = action.run(job_id, actor=Actor.OPERATOR, who=user.get_username())
            record(user, Job(pk=job_id), f"{_words(event)}: {DONE[event]}", f"job {job_id}")
    except OperationalError as error:
        if not is_lock(error):
            raise
        return Outcome(job_id, None, f"Job {job_id} is locked by another transaction at the moment.")
    except JobNotFound:
        return Outcome(job_id, None, f"Job {job_id} no longer exists.")
    except NotAllowed as error:
        now, allowed = _words(error.facts["status"]), " or ".join(map(_words, action.sources))
        return Outcome(
            job_id, None, f"Job {job_id} is {now} now, so “{action.label.lower()}” does not apply ({allowed} only)."
        )
    return Outcome(job_id, event, f"Job {job_id} {DONE[event]}.")


def record(user: AbstractBaseUser, row: models.Model, message: str, name: str) -> None:
    """A line in Django's log, which the admin shows as recent actions and as the row's history."""
    LogEntry.objects.create(
        user_id=user.pk,
        content_type=ContentType.objects.get_for_model(type(row)),
        object_id=str(row.pk),
        object_repr=name[:200],
        action_flag=CHANGE,
        change_message=message,
    )


def _words(word: str) -> str:
    return str(word).replace("_", " ")
