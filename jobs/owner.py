"""Owner: the database that a Redis serves. Two databases on one Redis would take each other's ids out of the lists.

A database has a random mark. Its first housekeeper makes it and leaves a copy in Redis. A process that finds another
mark there leaves Redis alone: it pushes nothing, pops nothing, believes no status, and polls its database, as it does
while Redis is away. `rebuild.py` decides when a mark in Redis may be replaced.
"""

from __future__ import annotations

import logging
import time

import redis
from django.db import DatabaseError, InterfaceError

from jobs.database import connection

MARK = "jobs:database"
"""The mark of the database that Redis serves."""

ALIVE = "jobs:database:alive"
"""The identity of the housekeeper that wrote last. Expires, so that a database that is gone does not keep its Redis."""

FIELD = "jobs_database"
"""With the mark as its value, in what RQ's tools see of our workers and schedulers: whose they are."""

READ_EVERY_S = 5.0
"""A restored copy of a database gets a new mark while its processes run; they know it after so many seconds."""

REFUSAL = b"RIVAL"
"""What lua/turn.lua answers to another database than the one that Redis serves."""


class Rival(redis.exceptions.RedisError):
    """This Redis serves another database. Housekeeping says so in the log; others treat it as an outage in silence."""


_mark = ""
_read_at = float("-inf")


def mark() -> str:
    """The mark of our database, as far as this process knows it; '' until then, which fits every Redis."""
    return _mark


def note(found: str) -> None:
    """Remember what the database was just seen to say."""
    global _mark, _read_at
    _mark, _read_at = found, time.monotonic()


def refresh() -> None:
    """Ask the database, unless that was done a moment ago. For threads that have a connection to it anyway."""
    if time.monotonic() - _read_at < READ_EVERY_S:
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT mark FROM jobs_housekeeping WHERE id = 1")
            row = cursor.fetchone()
    except (DatabaseError, InterfaceError):
        return  # the caller meets the outage itself
    note(row[0] if row else "")


def is_rival(found: bytes | None) -> bool:
    """Whether what stands under MARK is the mark of another database."""
    return found is not None and _mark != "" and found.decode("ascii", "replace") != _mark


def refuse(answer: object) -> None:
    """Raise Rival where the script refused to work for us."""
    if answer == REFUSAL:
        raise Rival


def level_of(error: Exception) -> int:
    """At which level to tell of an outage: housekeeping names a rival, others need not each second."""
    return logging.DEBUG if isinstance(error, Rival) else logging.WARNING


def check(found: bytes | None) -> None:
    if is_rival(found):
        raise Rival("this Redis serves another database")
