"""What code declares: names and columns, kept by import. Nothing here touches the database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from jobs import registry
from jobs.errors import UnknownType
from jobs.models import Schedule

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Declared:
    """A schedule that ships with code; `options` are columns of Schedule."""

    name: str
    source: str | Callable[..., Any]
    """The type, or the function that handles it."""

    options: dict[str, Any] = field(default_factory=dict)

    @property
    def type(self) -> str:
        """Raises UnknownType for a function that handles none."""
        if isinstance(self.source, str):
            return self.source
        for job_type in registry.all_types():
            if job_type.function is self.source:
                return job_type.name
        raise UnknownType(f"the schedule {self.name!r} is declared at a function that handles no type")


_declared: dict[str, Declared] = {}


def declare(name: str, *, type: str, **options: Any) -> None:
    """Declare a schedule of a type; `options` are columns of Schedule. Raises ValueError when the name is taken."""
    _add(Declared(name, type, options))


def schedule(
    name: str,
    *,
    cron: str = "",
    every_s: int | None = None,
    tz: str = "UTC",
    payload: dict[str, Any] | None = None,
    **options: Any,
) -> Callable[[F], F]:
    """Declare a schedule beside the handler of its type, above or below `@handler`.

    `options` are further columns of Schedule: queue, catch_up, catch_up_window_s, catch_up_max, overlap,
    jitter_s, anchor, starts_at, ends_at, pause_after_failures. Raises ValueError when the name is taken.
    """
    columns = {"cron": cron, "every_s": every_s, "time_zone": tz, "payload": payload or {}, **options}

    def register(function: F) -> F:
        _add(Declared(name, function, columns))
        return function

    return register


def _add(declared: Declared) -> None:
    known = _declared.get(declared.name)
    if known is not None and _origin(known) != _origin(declared):
        raise ValueError(f"the schedule {declared.name!r} is declared twice")
    _declared[declared.name] = declared


def _origin(declared: Declared) -> str:
    source = declared.source
    return source if isinstance(source, str) else f"{source.__module__}.{source.__qualname__}"


def all_declared() -> list[Declared]:
    return list(_declared.values())


def find(name: str) -> Declared | None:
    return _declared.get(name)


def is_declared(schedule: Schedule) -> bool:
    """Whether it would come back if it were removed."""
    return schedule.is_declared and schedule.name in _declared


def withdraw(name: str) -> None:
    """Forget a declaration (for tests, which declare their own)."""
    _declared.pop(name, None)
