"""The tables. The database is the truth: everything in Redis is rebuilt from here.

`Job.status` is written by `transitions.py` alone, and jobs are created by `submission` alone.
"""

from jobs.models.access import ApiKey
from jobs.models.clock import DbNow
from jobs.models.effect import Effect
from jobs.models.event import Event, LogLine
from jobs.models.fleet import Housekeeping, Lease, QueueState, count_workers, heard_leases
from jobs.models.job import IdempotencyKey, Job, JobTag
from jobs.models.schedule import ClockStep, DroppedSlots, Schedule
from jobs.models.stat import MinuteStat

__all__ = [
    "ApiKey",
    "ClockStep",
    "DbNow",
    "DroppedSlots",
    "Effect",
    "Event",
    "Housekeeping",
    "IdempotencyKey",
    "Job",
    "JobTag",
    "Lease",
    "LogLine",
    "MinuteStat",
    "QueueState",
    "Schedule",
    "count_workers",
    "heard_leases",
]
