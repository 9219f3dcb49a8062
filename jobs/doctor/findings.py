"""Findings of `doctor`: a stable name, how bad it is, one sentence, and what to do.

docs/operate.md lists every name with its remedy; a test compares the two.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from django.conf import settings

Level = Literal["ok", "warning", "failure"]


@dataclass(frozen=True)
class Finding:
    name: str
    level: Level
    sentence: str
    fix: str = ""
    probe: str = ""
    """Which probe found it; set by the one who runs the probes."""

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def ok(sentence: str) -> Finding:
    return Finding("ok", "ok", sentence)


def warning(name: str, sentence: str, fix: str) -> Finding:
    """It works, but not as promised, or not for long."""
    return Finding(name, "warning", sentence, fix)


def failure(name: str, sentence: str, fix: str) -> Finding:
    """Something that jobs need does not work."""
    return Finding(name, "failure", sentence, fix)


def first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def is_own_site() -> bool:
    """Whether the project is the one that comes with this app, and reads its settings from the environment."""
    return hasattr(settings, "IS_BROKER_EMBEDDED")


def database_setting() -> str:
    return "DATABASE_URL" if is_own_site() else "DATABASES"


def broker_fix() -> str:
    if getattr(settings, "IS_BROKER_EMBEDDED", False):
        return "start it: python manage.py broker start"
    return "look at REDIS_URL and at the Redis server; jobs are accepted and run meanwhile, but found later"
