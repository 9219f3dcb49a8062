"""Rows of jobs as tuples, and the few places where SQLite and PostgreSQL want different SQL.

The paths that every job takes (submit, claim, finish) use raw SQL with many rows a statement; this
module keeps what they share. JSON columns stay text on the way through: nobody parses a result only to
write it into the mirror.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import uuid
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import orjson
import uuid_utils
from django.db import DEFAULT_DB_ALIAS, connection, connections

from jobs.documents import error_document, isotime, links


class Row(NamedTuple):
    """What transitions return of a job. Times are as the database gave them (see `clock.parse`)."""

    id: uuid.UUID
    type: str
    queue: str
    client: str
    key: str | None
    status: str
    version: int
    attempt: int
    failures: int
    failures_allowed: int
    crashes: int
    crashes_allowed: int
    max_attempts: int
    created_at: Any
    run_after: Any
    queued_at: Any
    started_at: Any
    finished_at: Any
    progress: str | None
    result: str | None
    error_code: str | None
    error_message: str | None
    callback_url: str | None
    lease_id: uuid.UUID | None
    has_effects: bool

    @property
    def document(self) -> dict[str, Any]:
        """The status document, to be serialised by orjson: JSON columns are fragments."""
        text_id = str(self.id)
        return {
            "id": text_id,
            "type": self.type,
            "status": self.status,
            "attempt": self.attempt,
            "failures": self.failures,
            "crashes": self.crashes,
            "maxAttempts": self.max_attempts,
            "queue": self.queue,
            "progress": _fragment(self.progress),
            "createdAt": _time_text(self.created_at),
            "runAfter": _time_text(self.run_after),
            "startedAt": _time_text(self.started_at),
            "finishedAt": _time_text(self.finished_at),
            "result": _fragment(self.result),
            "error": error_document(self.error_code, self.error_message),
            "idempotencyKey": self.key,
            "links": links(text_id),
        }


@cache
def columns() -> str:
    """What SQL selects or returns for a Row."""
    return ", ".join(as_raw(name) if name.endswith(("_at", "_after")) else name for name in Row._fields)


def as_raw(column: str) -> str:
    """SQL of a time as it is stored. Of an expression Django does not know that it is a time, and SQLite's stays
    text, which costs nothing."""
    return column if is_postgresql() else f"{column} || ''"


def mirror_entry(
    row: Row,
    progress_number: int = 0,
    progress: dict[str, Any] | None = None,
    document_json: bytes | None = None,
) -> tuple[str, str, bytes]:
    """What the script writes into the mirror: id, 16 hex digits of version and progress, the document after its `v`.

    `progress` is that of an attempt which goes on; otherwise the row's own is taken.
    """
    if document_json is None:
        document = row.document
        if progress is not None:
            document["progress"] = progress
        document_json = orjson.dumps(document)
        text_id = document["id"]
    else:
        text_id = str(row.id)
    rest = b'"owner":%b,"status":%b}' % (orjson.dumps(row.client), document_json)
    return text_id, f"{row.version:08x}{progress_number:08x}", rest


def _time_text(value: Any) -> str | None:
    """`isotime(parse(value))`; SQLite's text needs no parsing for that."""
    if isinstance(value, str):
        return f"{value[:10]}T{(value[11:23] + '.000')[:12]}Z"
    return isotime(value)


def _fragment(text: str | None) -> orjson.Fragment | None:
    return None if text is None else orjson.Fragment(text)


@cache
def is_postgresql() -> bool:
    """Asked several times a row, and the same for the life of a process."""
    return connection.vendor == "postgresql"


def db_id(value: uuid.UUID) -> Any:
    """A UUID as a parameter of raw SQL."""
    return value if is_postgresql() else value.hex


def py_id(value: Any) -> uuid.UUID:
    """A UUID as raw SQL returned it."""
    return value if isinstance(value, uuid.UUID) else make_id(value)


_UNKNOWN = uuid.SafeUUID.unknown


def make_id(text: str) -> uuid.UUID:
    """`uuid.UUID(text)` in a third of its time, of what is certainly a UUID: each job takes several."""
    made = object.__new__(uuid.UUID)
    object.__setattr__(made, "int", int(text, 16))
    object.__setattr__(made, "is_safe", _UNKNOWN)
    return made


def new_id() -> uuid.UUID:
    """A UUID that sorts by its time (version 7), and so lies beside its neighbours in every index."""
    return make_id(uuid_utils.uuid7().hex)


@lru_cache(maxsize=64)
def _lease_id(text: str) -> uuid.UUID:
    """Many rows carry one lease."""
    return make_id(text)


def db_time(moment: dt.datetime | None) -> Any:
    """A time as a parameter of raw SQL."""
    return None if moment is None else connection.ops.adapt_datetimefield_value(moment)


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


def fetch(sql: str, parameters: Sequence[Any]) -> list[Row]:
    """Run SQL that returns `columns()`."""
    return [make_row(raw) for raw in run(sql, parameters)]


def run(sql: str, parameters: Sequence[Any]) -> list[Any]:
    """The rows that SQL returns, of the statements that every group of jobs takes."""
    with _executed(sql, parameters) as cursor:
        return cursor.fetchall() if cursor.description else []


def select(columns: str, rest: str, parameters: Sequence[Any]) -> list[Any]:
    """The rows of `SELECT columns FROM rest`, of many at once.

    On SQLite as one JSON text, since its driver gives up and takes back the interpreter's lock at each row: beside
    busy threads that is a wait each time.
    """
    if is_postgresql():
        return run(f"SELECT {columns} FROM {rest}", parameters)
    ((text,),) = run(f"SELECT json_group_array(json_array({columns})) FROM {rest}", parameters)
    found: list[Any] = orjson.loads(text)
    return found


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


def make_row(raw: Sequence[Any]) -> Row:
    """A Row of what raw SQL returned for `columns()`."""
    if is_postgresql():
        return Row._make(raw)
    lease_id = None if raw[23] is None else _lease_id(raw[23])
    return Row._make((make_id(raw[0]), *raw[1:23], lease_id, bool(raw[24])))


def for_update(*, skip_locked: bool = False) -> str:
    """SQLite needs no row lock: every writing transaction is immediate and so alone."""
    if not is_postgresql():
        return ""
    return " FOR UPDATE SKIP LOCKED" if skip_locked else " FOR UPDATE"
