"""What is in force on the PostgreSQL server that answers: a pooler or a role may have other settings than we asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from jobs.doctor.findings import Finding, failure, warning

Holders = Callable[[BaseDatabaseWrapper], Iterable[str]]

STATEMENT_MS = 5_000
"""For one question of this probe."""

LIMITS = {
    "idle_in_transaction_session_timeout": ("5s", "a machine that is cut off would hold the rows of its jobs"),
    "lock_timeout": ("2s", "a row that somebody has locked would stop whoever wants it"),
    "client_connection_check_interval": ("1s", "the statement of a dead client would go on, and hold its rows"),
}
"""Settings of a session, by what we set, and why. 0 means that it is off."""

SAFE = ("fsync", "synchronous_commit", "full_page_writes")

FEW = 0.1
"""Of the connections that the server allows."""

OPEN_S = 60
"""Seconds after which an open transaction is worth a line: it keeps dead rows, and migrations wait for it."""

HELD_S = 5
"""Seconds after which a lock on our tables is: our own transactions end sooner."""


def look(connection: BaseDatabaseWrapper) -> Iterator[Finding]:
    with _patience(connection) as ask:
        ((is_standby,),) = ask("SELECT pg_is_in_recovery()")
        if is_standby:
            yield failure(
                "database-standby",
                "this PostgreSQL is a standby, and takes no writes",
                "let the setting of the database name the primary",
            )
        stated = dict(ask("SELECT name, setting FROM pg_settings"))
        ((name,),) = ask("SELECT current_database()")
        yield from _limits(stated, name)
        yield from _durability(stated)
        ((isolation,),) = ask("SHOW transaction_isolation")
        if isolation != "read committed":
            yield warning(
                "database-isolation",
                f"transactions run at {isolation}; callers get serialization errors where they would wait",
                f"run: ALTER DATABASE \"{name}\" SET default_transaction_isolation = 'read committed'",
            )
        yield from _connections(stated, ask)
        yield from _open_transactions(ask)
    for held in holders(connection):
        yield warning("database-lock", held.partition(" -> ")[0], held.partition(" -> ")[2])


def facts(connection: BaseDatabaseWrapper) -> str:
    with _patience(connection) as ask:
        ((version,),) = ask("SHOW server_version")
    return f"version {version}"


def holders(connection: BaseDatabaseWrapper) -> list[str]:
    """Who holds locks on our tables for longer than our own transactions take, each with the statement that ends it."""
    with _patience(connection) as ask:
        found = ask(
            "SELECT l.pid, coalesce(a.usename, 'unknown'), min(c.relname), string_agg(DISTINCT l.mode, ', '),"
            " extract(epoch FROM clock_timestamp() - min(a.xact_start))::int FROM pg_locks l"
            " JOIN pg_class c ON c.oid = l.relation JOIN pg_stat_activity a ON a.pid = l.pid"
            " WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.granted"
            f" AND l.pid <> pg_backend_pid() AND c.relkind IN ('r', 'p') AND c.relname LIKE 'jobs\\_%'"
            " AND l.mode <> 'AccessShareLock' AND a.backend_type = 'client backend'"
            f" AND a.xact_start < clock_timestamp() - make_interval(secs => {HELD_S}) GROUP BY 1, 2 ORDER BY 5 DESC LIMIT 5"
        )
    return [
        f"process {pid} of {user} has held locks on {table} ({modes}) for {age_s} s"
        f" -> end it: SELECT pg_terminate_backend({pid})"
        for pid, user, table, modes, age_s in found
    ]


def _limits(stated: dict[str, str], name: str) -> Iterator[Finding]:
    for limit, (wanted, why) in LIMITS.items():
        if stated.get(limit) == "0":
            yield warning(
                "database-session-limits",
                f"{limit} is not in force, as behind a pooler that drops `options`: {why}",
                f"run: ALTER DATABASE \"{name}\" SET {limit} = '{wanted}'",
            )


def _durability(stated: dict[str, str]) -> Iterator[Finding]:
    if off := [name for name in SAFE if stated.get(name) == "off"]:
        yield warning(
            "database-not-durable",
            f"{', '.join(off)} off: an accepted job may be lost with the power",
            "; ".join(f"run: ALTER SYSTEM SET {name} = on" for name in off) + "; then: SELECT pg_reload_conf()",
        )


def _connections(stated: dict[str, str], ask: Ask) -> Iterator[Finding]:
    ((taken,),) = ask("SELECT coalesce(sum(numbackends), 0)::int FROM pg_stat_database")
    reserved = int(stated["superuser_reserved_connections"]) + int(stated.get("reserved_connections", 0))
    allowed = int(stated["max_connections"]) - reserved
    if allowed - taken < FEW * allowed:
        yield warning(
            "database-connections",
            f"{taken} of {allowed} connections of the server are taken",
            "raise max_connections, put a pooler between, or run fewer processes",
        )


def _open_transactions(ask: Ask) -> Iterator[Finding]:
    for pid, user, age_s in ask(
        "SELECT pid, coalesce(usename, 'unknown'), extract(epoch FROM clock_timestamp() - xact_start)::int"
        " FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend'"
        f" AND xact_start < clock_timestamp() - make_interval(secs => {OPEN_S}) ORDER BY xact_start LIMIT 1"
    ):
        yield warning(
            "database-long-transaction",
            f"process {pid} of {user} has had a transaction open for {age_s} s: dead rows stay, and migrations wait for it",
            f"look what it does, then end it: SELECT pg_terminate_backend({pid})",
        )


Ask = Callable[[str], list[Any]]


@contextmanager
def _patience(connection: BaseDatabaseWrapper) -> Iterator[Ask]:
    """A transaction whose statements are given up after a while; the session, which a pooler may share, keeps nothing."""
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = {STATEMENT_MS}")

        def ask(sql: str) -> list[Any]:
            cursor.execute(sql)
            return list(cursor.fetchall())

        yield ask
