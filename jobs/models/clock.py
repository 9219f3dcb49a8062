"""The database's clock: stored times come from it, so that machines need not agree on the time.

`clock_timestamp()` and `clock_after(seconds)` may be used in SQL on both databases: PostgreSQL has the
first (the second is made by `AFTER`), SQLite gets both as functions of its connection, where database
and program share one machine and so one clock.
"""

from __future__ import annotations

import datetime as dt
from functools import lru_cache
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from jobs.database import connection


class DbNow(models.Func):
    """The database's present time, as an ORM expression."""

    function = "clock_timestamp"
    arity = 0
    output_field = models.DateTimeField()


NOW = "clock_timestamp()"


def after(expression: str = "%s") -> str:
    """SQL for the present plus `expression` seconds; by default a parameter."""
    if connection.vendor == "postgresql":
        return f"(clock_timestamp() + make_interval(secs => {expression}))"
    return f"clock_after({expression})"


def fixed(expression: str = "%s") -> str:
    """The same, to compare a column with: worked out once a statement, so that an index can be searched for it.
    PostgreSQL asks a bare `clock_timestamp()` anew for each row, and so reads all of them."""
    if connection.vendor == "postgresql":
        return f"((SELECT clock_timestamp()) + make_interval(secs => {expression}))"
    return after(expression)


def now() -> dt.datetime:
    """The database's present time, aware, UTC. One query on PostgreSQL, none on SQLite."""
    if connection.vendor == "sqlite":
        return dt.datetime.now(dt.UTC)
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        value: dt.datetime = cursor.fetchone()[0]
    return value.astimezone(dt.UTC)


def parse(value: Any) -> dt.datetime | None:
    """A time as raw SQL returned it (text on SQLite), aware, UTC."""
    if value is None:
        return None
    if isinstance(value, str):
        return _parse_text(value)
    moment: dt.datetime = value
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


@lru_cache(maxsize=256)
def _parse_text(text: str) -> dt.datetime:
    """Jobs that were moved together have their times together."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def text(moment: dt.datetime) -> str:
    """The text that Django's SQLite backend stores for a time; always with microseconds, so that it sorts."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _add_functions(sender: Any, connection: BaseDatabaseWrapper, **_: Any) -> None:
    if connection.vendor == "sqlite":
        raw = connection.connection
        # "Deterministic" means within one statement: asked once for all of its rows, and anew for the next one.
        raw.create_function("clock_timestamp", 0, lambda: text(dt.datetime.now(dt.UTC)), deterministic=True)
        raw.create_function(
            "clock_after",
            1,
            lambda s: text(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=float(s))),
            deterministic=True,
        )


connection_created.connect(_add_functions, dispatch_uid="jobs.models.clock")
