"""A job system for Django: accepted jobs are rows, effects happen once, the admin shows every life.

The names below are what handlers and callers use. They are imported lazily, since Django imports this
package before its models can be loaded.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobs.context import JobContext
    from jobs.effects import Effect
    from jobs.errors import Permanent, Retry
    from jobs.registry import handler
    from jobs.retry import Backoff
    from jobs.schedules import schedule
    from jobs.submission import submit

__all__ = ["Backoff", "Effect", "JobContext", "Permanent", "Retry", "handler", "schedule", "submit"]

_HOMES = {
    "Backoff": "jobs.retry",
    "Effect": "jobs.effects",
    "JobContext": "jobs.context",
    "Permanent": "jobs.errors",
    "Retry": "jobs.errors",
    "handler": "jobs.registry",
    "schedule": "jobs.schedules",
    "submit": "jobs.submission",
}


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(import_module(home), name)
