"""The only writer of `Job.status`, and the only one who inserts jobs and events.

Every function takes many jobs, runs inside the caller's transaction, and returns the rows that moved,
as they are now. A job that is missing from the answer lost a race (or was not in a legal status) and
nothing was written for it. Each transition raises the row's version and writes one event. A row that
reached a final status brings its callback with it: a new job, in the same commit, at the answer's end.
"""

from jobs.transitions.claims import Claimed, claim, open_attempts
from jobs.transitions.ended import Ended, is_of_claim
from jobs.transitions.endings import Prepared, end_attempts, prepare
from jobs.transitions.insert import NewJob, insert
from jobs.transitions.moves import (
    cancel,
    change_queue,
    promote,
    promote_due,
    request_cancel,
    rerun,
    settle,
)
from jobs.transitions.running import live_ids, locked_elsewhere, running_of

__all__ = [
    "Claimed",
    "Ended",
    "NewJob",
    "Prepared",
    "cancel",
    "change_queue",
    "claim",
    "end_attempts",
    "insert",
    "is_of_claim",
    "live_ids",
    "locked_elsewhere",
    "open_attempts",
    "prepare",
    "promote",
    "promote_due",
    "request_cancel",
    "rerun",
    "running_of",
    "settle",
]
