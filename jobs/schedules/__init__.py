"""Schedules: rows that say when which job is created by itself.

`ticking` decides about due slots, `policies` holds the pure part of that, `editing` is how a schedule
is made and changed. A slot's job is created under the key `schedule:<name>:<slot>`, so any number of
schedulers, restarts and clock steps create it once.
"""

from jobs.schedules.editing import declare, ensure_declared, pause, remove, resume, run_now, store, validate
from jobs.schedules.slots import key_of, upcoming
from jobs.schedules.ticking import Ticker, tick

__all__ = [
    "Ticker",
    "declare",
    "ensure_declared",
    "key_of",
    "pause",
    "remove",
    "resume",
    "run_now",
    "store",
    "tick",
    "upcoming",
    "validate",
]
