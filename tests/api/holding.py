"""A database that keeps everybody waiting."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.db import connection


@contextmanager
def held_database() -> Iterator[None]:
    """Somebody holds what every accept has to write."""
    settings = connection.settings_dict
    if connection.vendor == "sqlite":
        rival = sqlite3.connect(settings["NAME"], isolation_level=None)
        rival.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            rival.rollback()
            rival.close()
        return
    where = {"host": settings["HOST"], "port": settings["PORT"] or None, "user": settings["USER"]}
    with psycopg.connect(dbname=settings["NAME"], **{n: v for n, v in where.items() if v}) as rival_connection:
        rival_connection.execute("LOCK TABLE jobs_job, jobs_idempotencykey, jobs_housekeeping IN ACCESS EXCLUSIVE MODE")
        yield
