"""The lifecycle of a job: one table, from which everything else about statuses is derived.

Model choices and CHECK constraints, `transitions.py`, the admin's buttons, the API's 409 answers,
`manage.py lifecycle`, docs/lifecycle.md and the tests all read TRANSITIONS. Pure: no I/O, no Django.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Status(StrEnum):
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    IN_DOUBT = "in_doubt"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Actor(StrEnum):
    CLIENT = "client"
    WORKER = "worker"
    HOUSEKEEPING = "housekeeping"
    OPERATOR = "operator"
    PROBE = "probe"
    SCHEDULER = "scheduler"


class Event(StrEnum):
    SUBMIT = "submit"
    PROMOTE = "promote"
    START = "start"
    SUCCEED = "succeed"
    RETRY = "retry"
    FAIL = "fail"
    RELEASE = "release"
    EXPIRE = "expire"
    DOUBT = "doubt"
    SETTLE = "settle"
    REQUEST_CANCEL = "request_cancel"
    CANCEL = "cancel"
    ABORT = "abort"
    RERUN = "rerun"


FINAL = (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED)
"""Statuses in which `finished_at` is set. `failed` and `cancelled` may be left once more, by `rerun`."""

OPEN = tuple(status for status in Status if status not in FINAL)

MEANING = {
    Status.SCHEDULED: "waits for run_after: delayed, or backing off after a failure",
    Status.QUEUED: "due; its id belongs in RQ's list",
    Status.RUNNING: "one horse runs an attempt under its lease",
    Status.IN_DOUBT: "an attempt ended in the middle of a side effect that must not be repeated; a person settles it",
    Status.SUCCEEDED: "the handler returned; final",
    Status.FAILED: "a permanent error, or no failure or crash was left; final",
    Status.CANCELLED: "somebody asked for it before it succeeded; final",
}


@dataclass(frozen=True)
class Transition:
    event: Event
    sources: tuple[Status, ...]
    target: Status
    actors: tuple[Actor, ...]
    because: str


_S, _E, _A = Status, Event, Actor

# fmt: off
TRANSITIONS: dict[Event, Transition] = {t.event: t for t in (
    Transition(_E.PROMOTE,        (_S.SCHEDULED,),                          _S.QUEUED,    (_A.HOUSEKEEPING, _A.OPERATOR),           "its time has come, or an operator says now"),
    Transition(_E.START,          (_S.QUEUED,),                             _S.RUNNING,   (_A.WORKER,),                            "the horse claimed the row under its lease and opened the next attempt; undone without a trace where no handler began"),
    Transition(_E.SUCCEED,        (_S.RUNNING,),                            _S.SUCCEEDED, (_A.WORKER,),                            "the handler returned"),
    Transition(_E.RETRY,          (_S.RUNNING,),                            _S.SCHEDULED, (_A.WORKER, _A.HOUSEKEEPING),             "the attempt failed; the next is due at run_after"),
    Transition(_E.FAIL,           (_S.RUNNING,),                            _S.FAILED,    (_A.WORKER, _A.HOUSEKEEPING),             "the error is permanent, or no failure or crash is left"),
    Transition(_E.RELEASE,        (_S.RUNNING,),                            _S.QUEUED,    (_A.WORKER, _A.HOUSEKEEPING),             "the worker was told to stop, or died of another job; counts as neither failure nor crash"),
    Transition(_E.EXPIRE,         (_S.RUNNING,),                            _S.QUEUED,    (_A.WORKER, _A.HOUSEKEEPING),             "the lease was taken for dead or the process died; counts as a crash"),
    Transition(_E.DOUBT,          (_S.RUNNING,),                            _S.IN_DOUBT,  (_A.WORKER, _A.HOUSEKEEPING),             "the attempt ended with a held effect executing or in doubt"),
    Transition(_E.SETTLE,         (_S.IN_DOUBT,),                           _S.QUEUED,    (_A.OPERATOR,),                          "the last doubtful effect's truth is known, or its probe is to be asked again; the job goes on"),
    Transition(_E.REQUEST_CANCEL, (_S.RUNNING,),                            _S.RUNNING,   (_A.CLIENT, _A.OPERATOR, _A.SCHEDULER),  "somebody asked while an attempt was running"),
    Transition(_E.CANCEL,         (_S.SCHEDULED, _S.QUEUED, _S.IN_DOUBT),   _S.CANCELLED, (_A.CLIENT, _A.OPERATOR, _A.SCHEDULER),  "somebody asked before it started, or started again"),
    Transition(_E.ABORT,          (_S.RUNNING,),                            _S.CANCELLED, (_A.WORKER, _A.HOUSEKEEPING),             "a cancel was requested and the attempt ended without success"),
    Transition(_E.RERUN,          (_S.FAILED, _S.CANCELLED),                _S.QUEUED,    (_A.CLIENT, _A.OPERATOR),                "fresh failures and crashes are granted, a cancel request is cleared; doubtful effects stay doubtful"),
)}
# fmt: on

YIELDS_TO_CANCEL = frozenset({Event.FAIL, Event.RETRY, Event.RELEASE, Event.EXPIRE})
"""Endings that become `abort` when a cancel request is in the row, however late it came."""


def events_for(status: Status | str, actor: Actor) -> list[Event]:
    """The events that `actor` may cause in a job that is in `status`, in the order of the table."""
    return [t.event for t in TRANSITIONS.values() if status in t.sources and actor in t.actors]


def sources_of(*events: Event) -> list[Status]:
    """The statuses in which at least one of `events` is legal, in lifecycle order."""
    return [status for status in Status if any(status in TRANSITIONS[event].sources for event in events)]


class End(StrEnum):
    """What happened to an attempt, before the rules of the lifecycle are applied to it."""

    RETURNED = "returned"
    RAISED = "raised"  # a transient error
    PERMANENT = "permanent"
    RELEASED = "released"  # told to stop, not its fault
    UNBEGUN = "not begun"  # claimed, and given back before its handler was called
    DIED = "died"  # its process or its lease


class Budget(NamedTuple):
    """Failures and crashes of a job so far, and how many of each end it as failed."""

    failures: int
    failures_allowed: int
    crashes: int
    crashes_allowed: int


class Doubt(StrEnum):
    """What the effects of the ended attempt leave open; the worst of them decides."""

    NONE = "none"
    OPEN = "open"  # executing or in doubt, but the next attempt can find out or repeat (probe, repeat)
    HELD = "held"  # executing or in doubt, and only a person may say what happened


def ending(end: End, budget: Budget, doubt: Doubt, *, is_cancel_requested: bool) -> Event:
    """How an attempt ends. The order is the law: doubt, succeed, abort, fail, then retry, release, expire.

    A handler that returned with an effect still open did not succeed: the next attempt has to find
    out what happened, so it counts as a transient error.
    """
    if end is End.UNBEGUN:
        raise ValueError("a claim that no handler began is taken back: it does not end")
    if doubt is Doubt.HELD:
        return Event.DOUBT
    if end is End.RETURNED and doubt is Doubt.NONE:
        return Event.SUCCEED
    if is_cancel_requested:
        return Event.ABORT
    if end is End.PERMANENT:
        return Event.FAIL
    if end is End.RELEASED:
        return Event.RELEASE
    if end is End.DIED:
        return Event.FAIL if budget.crashes + 1 >= budget.crashes_allowed else Event.EXPIRE
    return Event.FAIL if budget.failures + 1 >= budget.failures_allowed else Event.RETRY
