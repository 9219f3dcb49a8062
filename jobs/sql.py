"""SQL of the paths that every job takes: the few places where SQLite and PostgreSQL want different words.

Those paths (submit, claim, finish) use raw SQL with many rows a statement. JSON columns stay text on the way through:
nobody parses a result only to write it into the mirror.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import uuid
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from typing import Any, TypeVar

import orjson
import uuid_utils
from django.db import InterfaceError, InternalError, OperationalError, connections

from jobs.database import alias, connection
from jobs.models import clock

Id = TypeVar("Id", bound=uuid.UUID)


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
def in_ids(column: str = "id") -> str:
    """Jobs of a list of ids that is one parameter: `as_list(hexes)`. PostgreSQL searches for each by index, whatever the
    statistics say; a table that is a parameter it may join by reading all jobs."""
    return f"{column} = ANY(%s::uuid[])" if is_postgresql() else f"{column} IN (SELECT value FROM json_each(%s))"


@cache
def in_places() -> str:
    """As `in_ids`, of a list of places where they were found in the same transaction: ids, or SQLite's rowids."""
    return in_ids() if is_postgresql() else "rowid IN (SELECT value FROM json_each(%s))"


def as_list(values: Sequence[Any]) -> str:
    """The parameter of `in_ids` and `in_places`: hex digits of ids, or rowids."""
    return "{" + ",".join(values) + "}" if is_postgresql() else orjson.dumps(values).decode()


@cache
def is_postgresql() -> bool:
    """Asked several times a row, and the same for the life of a process."""
    return connection.vendor == "postgresql"


def db_id(value: uuid.UUID) -> Any:
    """A UUID as a parameter of raw SQL."""
    return value if is_postgresql() else value.hex


def make_id(digits: str) -> uuid.UUID:
    """Of 32 hex digits in lower case, in half of the time that `uuid.UUID` takes."""
    return _make(uuid.UUID, digits)


def _make(kind: type[Id], digits: str) -> Id:
    made = object.__new__(kind)
    _set(made, "int", int(digits, 16))
    _set(made, "is_safe", _unknown)
    return made


_unknown = uuid.SafeUUID.unknown
_set = object.__setattr__


class JobId(uuid.UUID):
    """A UUID that has its texts at hand: each job is spoken of several times, in its log lines, its mirror, to Redis and
    to the database. Not for handlers and callers: there are libraries that know a UUID only by its very type."""

    __slots__ = ("hex", "text")
    hex: str
    text: str

    def __str__(self) -> str:
        return self.text

    def __reduce__(self) -> Any:
        return _known_id, (self.hex,)


@lru_cache(maxsize=1024)
def _known_id(digits: str) -> JobId:
    """What Redis gave out the database names again a moment later."""
    made = _make(JobId, digits)
    _set(made, "hex", digits)
    _set(made, "text", f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}")
    return made


def py_id(value: Any) -> uuid.UUID:
    """A UUID as raw SQL returned it, or as text in lower case."""
    return _known_id(value.hex if isinstance(value, uuid.UUID) else value.replace("-", ""))


def id_text(value: uuid.UUID) -> str:
    return value.text if type(value) is JobId else str(value)


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
    return orjson.dumps(rows, default=_id_in_json).decode()


def _id_in_json(value: Any) -> str:
    if isinstance(value, JobId):
        return value.text
    raise TypeError(f"a {type(value).__name__} in a table")


UNWILLING = frozenset({"25006", "25P03", "25P04"})
"""SQLSTATEs of a PostgreSQL that answers and does not commit: it is read-only (a standby after a failover, a disk that is
nearly full), or gave up a transaction that took too long. psycopg takes them for errors of the statement."""


def is_outage(error: BaseException) -> bool:
    """Whether the database does not answer, or does not commit, whatever it is asked: later it may."""
    if isinstance(error, OperationalError | InterfaceError):
        return True
    return isinstance(error, InternalError) and getattr(error.__cause__, "sqlstate", None) in UNWILLING


LOCKS = frozenset({"55P03", "40P01"})
"""SQLSTATEs of a PostgreSQL that gave up waiting for a lock: `lock_timeout` was over, or the wait was a deadlock."""


def is_lock(error: BaseException) -> bool:
    """Whether a statement failed because somebody else holds a lock. Then nothing was written, and the database is well.

    Never on SQLite: it has one lock for all that is written.
    """
    return getattr(error.__cause__, "sqlstate", None) in LOCKS


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
    own = connections[alias()]  # each attribute of Django's proxy is a look-up of its own
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
