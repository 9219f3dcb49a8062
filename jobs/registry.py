"""What types of job exist, and how each is run: filled by `@handler`, read by everybody.

A type's function lives in `handlers.py` (or a package `handlers`) of any installed Django app; those
are imported once the apps are ready. Nothing here touches the database or Redis.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from pydantic import BaseModel

from jobs.conf import conf
from jobs.errors import UnknownType
from jobs.retry import Backoff

TYPE_NAME = re.compile(r"[a-z][a-z0-9._-]{0,99}")

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class JobType:
    """One registered type. None in an option means: what the settings say."""

    name: str
    function: Callable[..., Any]
    payload: type[BaseModel] | None
    backoff: Backoff = field(default_factory=Backoff)
    own_max_attempts: int | None = None
    own_max_crashes: int | None = None
    own_timeout_s: int | None = None
    queue: str = "default"
    is_isolated: bool = False
    description: str = ""

    @property
    def max_attempts(self) -> int:
        return self.own_max_attempts or conf().max_attempts

    @property
    def max_crashes(self) -> int:
        return self.own_max_crashes or conf().max_crashes

    @property
    def timeout_s(self) -> int:
        return self.own_timeout_s or conf().timeout_s

    @cached_property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.function)


_types: dict[str, JobType] = {}


def handler(
    name: str,
    *,
    payload: type[BaseModel] | None = None,
    backoff: Backoff | None = None,
    max_attempts: int | None = None,
    max_crashes: int | None = None,
    timeout_s: int | None = None,
    queue: str = "default",
    isolate: bool = False,
) -> Callable[[F], F]:
    """Register a function as the handler of the type `name`.

    It is called as `function(job, payload)`, with a JobContext and an instance of the `payload` model
    (a plain dict where there is none), and may be `async def`. What it returns is stored as the job's
    result and must be JSON. `isolate=True` runs each attempt in a process of its own.

    Raises ValueError when the name is malformed or taken by another function.
    """
    if not TYPE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no type name: lower-case letters, digits, '.', '_' and '-', at most 100")

    def register(function: F) -> F:
        known = _types.get(name)
        if known is not None and (known.function.__module__, known.function.__qualname__) != (
            function.__module__,
            function.__qualname__,
        ):
            raise ValueError(f"the type {name!r} has a handler already: {known.function.__module__}")
        _types[name] = JobType(
            name=name,
            function=function,
            payload=payload,
            backoff=backoff or Backoff(),
            own_max_attempts=max_attempts,
            own_max_crashes=max_crashes,
            own_timeout_s=timeout_s,
            queue=queue,
            is_isolated=isolate,
            description=inspect.cleandoc(function.__doc__ or "").partition("\n\n")[0].replace("\n", " "),
        )
        return function

    return register


def get(name: str) -> JobType:
    """The type of that name. Raises UnknownType."""
    try:
        return _types[name]
    except KeyError:
        raise UnknownType(f"no handler is registered for the type {name!r}") from None


def all_types() -> list[JobType]:
    """All registered types, by name."""
    return [_types[name] for name in sorted(_types)]


def unregister(name: str) -> None:
    """Forget a type (for tests, which register their own)."""
    _types.pop(name, None)
