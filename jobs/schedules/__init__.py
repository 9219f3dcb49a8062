"""Schedules: rows that say when which job is created by itself.

`ticking` decides about due slots: `policies` holds the pure part of that and `carrying` what touches jobs;
`clockwatch` raises the alarm when the clock jumps. `editing` is how a schedule is made and changed, `declared` and
`syncing` how code states one, `running` how a person asks for jobs outside the slots' time. A slot's job is created
under the key `schedule:<name>:<slot>`, so any number of schedulers, restarts and clock steps create it once.
"""

from jobs.schedules.declared import declare, is_declared, schedule
from jobs.schedules.editing import pause, remove, resume, store, validate
from jobs.schedules.running import backfill, preview, run_now
from jobs.schedules.slots import key_of, upcoming
from jobs.schedules.syncing import revert, synchronise
from jobs.schedules.ticking import Ticker, tick
from jobs.schedules.words import in_words

__all__ = [
    "Ticker",
    "backfill",
    "declare",
    "in_words",
    "is_declared",
    "key_of",
    "pause",
    "preview",
    "remove",
    "resume",
    "revert",
    "run_now",
    "schedule",
    "store",
    "synchronise",
    "tick",
    "upcoming",
    "validate",
]
