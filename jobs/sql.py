"""SQL of the paths that every job takes: the few places where SQLite and PostgreSQL want different words.

Those paths (submit, claim, finish) use raw SQL with many rows a statement. JSON columns stay text on the way through:
nobody parses a result only to write it into the mirror.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import uuid
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache
from typing import Any

import orjson
import uuid_utils
from django.db import DEFAULT_DB_ALIAS, connection, connections

from jobs.models import clock


def as_raw(column: str) -> str:
    """SQL of a time as text, in the form that SQLite stores; in UTC. It costs less than a datetime, and most are only
    handed on. (Of an expression Django does not know that it is a time.)"""
    if is_postgresql():
        return f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US"+00"')"""
    return f"{column} || ''"


def as_text(column: str) -> str:
    """SQL of a JSON column as text, also inside of JSON."""
    return f"{column}::text" if is_postgresql() else column


@cache
def in_ids() -> str:
    """`IN` a list of ids that is one parameter: `as_ids(ids)`. PostgreSQL searches for each by index, whatever the
    statistics say; a table that is a parameter it may join by reading all jobs."""
    return "= ANY(%s::uuid[])" if is_postgresql() else "IN (SELECT value FROM json_each(%s))"


def as_ids(ids: Iterable[uuid.UUID]) -> str:
    """The parameter of `in_ids`."""
    if is_postgresql():
        return "{" + ",".join([job_id.hex for job_id in ids]) + "}"
    return orjson.dumps([job_id.hex for job_id in ids]).decode()


@cache
def is_postgresql() -> bool:
    """Asked several times a row, and the same for the life of a process."""
    return connection.vendor == "postgresql"


def db_id(value: uuid.UUID) -> Any:
    """A UUID as a parameter of raw SQL."""
    return value if is_postgresql() else value.hex


def py_id(value: Any) -> uuid.UUID:
    """A UUID as raw SQL returned it."""
    return value if isinstance(value, uuid.UUID) else _known_id(value.replace("-", ""))


_UNKNOWN = uuid.SafeUUID.unknown


def make_id(text: str) -> uuid.UUID:
    """`uuid.UUID(text)` in a third of its time, of what is certainly a UUID: each job takes several."""
    made = object.__new__(uuid.UUID)
    object.__setattr__(made, "int", int(text, 16))
    object.__setattr__(made, "is_safe", _UNKNOWN)
    return made


_known_id = lru_cache(maxsize=1024)(make_id)
"""What Redis gave out the database names again a moment later."""


id_text = lru_cache(maxsize=1024)(str)
"""A UUID as text: each job is spoken of several times, in its log lines, its mirror and to Redis."""


def new_id() -> uuid.UUID:
    """A UUID that sorts by its time (version 7), and so lies beside its neighbours in every index."""
    return make_id(uuid_utils.uuid7().hex)


def db_time(moment: dt.datetime | None) -> Any:
    """A time as a parameter of raw SQL."""
    return None if moment is None else connection.ops.adapt_datetimefield_value(moment)


def time_text(moment: dt.datetime) -> str:
    """A time as `as_raw` returns it, and as a parameter."""
    return clock.text(moment) + ("+00" if is_postgresql() else "")


@cache
def table(*columns: str) -> str:
    """`SELECT` of a table that is one parameter: `as_table(rows)`. Columns as "name type", the type PostgreSQL's.

    The text does not depend on the number of rows, so it is converted and parsed once. For PostgreSQL, which cannot
    guess them from JSON, it names the types.
    """
    if is_postgresql():
        casts = [f"(value->>{i})::{kind} AS {name}" for i, (name, kind) in enumerate(c.split() for c in columns)]
        return f"SELECT {', '.join(casts)} FROM jsonb_array_elements(%s::jsonb)"
    extracts = [f"json_extract(value, '$[{i}]') AS {column.split()[0]}" for i, column in enumerate(columns)]
    return f"SELECT {', '.join(extracts)} FROM json_each(%s)"


def as_table(rows: Sequence[Sequence[Any]]) -> str:
    """The parameter of `table`: the values of each row in the order of its columns; ids by `db_id`."""
    return orjson.dumps(rows).decode()


def marks(count: int) -> str:
    """`%s, %s, …` for an IN list."""
    return ", ".join(["%s"] * count)


def in_few(query: str) -> str:
    """`IN (query)` for a query of few rows. PostgreSQL, which cannot know that they are few, searches for each of an array;
    of an IN it makes a join, and reads the whole other table for that."""
    return f"= ANY(ARRAY({query}))" if is_postgresql() else f"IN ({query})"


def run(sql: str, parameters: Sequence[Any]) -> list[Any]:
    """The rows that SQL returns, of the statements that every group of jobs takes."""
    with _executed(sql, parameters) as cursor:
        return cursor.fetchall() if cursor.description else []


def select(columns: str, rest: str, parameters: Sequence[Any]) -> list[Any]:
    """The rows of `SELECT columns FROM rest`, of many at once, as one JSON text: the drivers take longer for each value
    than all of it takes, and SQLite's gives up and takes back the interpreter's lock at each row."""
    if is_postgresql():  # which locks no rows of an aggregate
        rows = f"SELECT json_build_array({columns}) AS one FROM {rest}"
        ((text,),) = run(f"SELECT json_agg(one)::text FROM ({rows}) AS every", parameters)
    else:
        ((text,),) = run(f"SELECT json_group_array(json_array({columns})) FROM {rest}", parameters)
    return [] if text is None else list(orjson.loads(text))


def change(sql: str, parameters: Sequence[Any]) -> int:
    """How many rows SQL changed that returns none."""
    with _executed(sql, parameters) as cursor:
        return int(cursor.rowcount)


@contextlib.contextmanager
def _executed(sql: str, parameters: Sequence[Any]) -> Iterator[Any]:
    """A cursor that has executed SQL.

    On SQLite Django's cursor costs more than most statements, by looking for marks in the text each time. It is
    passed by, unless somebody counts queries or wraps them.
    """
    own = connections[DEFAULT_DB_ALIAS]  # each attribute of Django's proxy is a look-up of its own
    if is_postgresql() or own.queries_logged or own.execute_wrappers:
        with own.cursor() as cursor:
            cursor.execute(sql, parameters)
            yield cursor
        return
    own.ensure_connection()
    with own.wrap_database_errors:
        yield own.connection.execute(_question_marks(sql), parameters)


@lru_cache(maxsize=256)
def _question_marks(sql: str) -> str:
    return sql.replace("%s", "?")


def for_update(*, skip_locked: bool = False) -> str:
    """SQLite needs no row lock: every writing transaction is immediate and so alone."""
    if not is_postgresql():
        return ""
    return " FOR UPDATE SKIP LOCKED" if skip_locked else " FOR UPDATE"
