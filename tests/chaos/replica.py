"""A primary and a replica that lags, and Django's documented router between them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
import threading
from pathlib import Path
from typing import Any

from tests.support.postgres import PostgresServer

VARIABLE = "CHAOS_REPLICA"
"""Names the replica to the processes of a fault run: an URL, or a file of SQLite."""

LAG_S = 2.0


class Router:
    """Django's own example: reads go to the replica, writes to the primary."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "replica"

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "default"

    def allow_relation(self, first: Any, second: Any, **hints: Any) -> bool:
        return True

    def allow_migrate(self, db: str, app_label: str, model_name: str | None = None, **hints: Any) -> bool:
        return db == "default"


class Copy:
    """A file of SQLite that is copied every `LAG_S`, unless it is held."""

    def __init__(self, folder: Path) -> None:
        self.name = str(folder / "replica.sqlite3")
        self._source = str(folder / "jobs.sqlite3")
        self._is_held = threading.Event()
        self._is_closed = threading.Event()
        self._copy()
        threading.Thread(target=self._run, name="replica", daemon=True).start()

    def hold(self) -> None:
        self._is_held.set()

    def go_on(self) -> None:
        self._is_held.clear()

    def close(self) -> None:
        self._is_closed.set()

    def _run(self) -> None:
        while not self._is_closed.wait(LAG_S):
            if not self._is_held.is_set():
                with contextlib.suppress(sqlite3.Error):
                    self._copy()

    def _copy(self) -> None:
        with (
            contextlib.closing(sqlite3.connect(self._source, timeout=5)) as source,
            contextlib.closing(sqlite3.connect(self.name, timeout=5)) as target,
        ):
            source.backup(target, pages=2000, sleep=0.01)


class Standby:
    """A streaming standby of PostgreSQL that applies everything `LAG_S` later, unless it is held."""

    def __init__(self, primary: PostgresServer, folder: Path) -> None:
        root = Path(tempfile.mkdtemp(prefix="standby-", dir=folder.parent))
        root.chmod(0o755)
        self._server = PostgresServer(root)
        self._server.copy_of(primary, {"recovery_min_apply_delay": f"{int(LAG_S * 1000)}ms"})
        self.name = self._server.url("postgres")

    def hold(self) -> None:
        self._execute("SELECT pg_wal_replay_pause()")

    def go_on(self) -> None:
        self._execute("SELECT pg_wal_replay_resume()")

    def close(self) -> None:
        import shutil

        self._server.stop()
        shutil.rmtree(self._server.root, ignore_errors=True)

    def _execute(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self.name, autocommit=True) as connection:
            connection.execute(statement)


Replica = Copy | Standby


def started(folder: Path, primary: PostgresServer | None) -> Replica:
    return Copy(folder) if primary is None else Standby(primary, folder)


def settings(databases: dict[str, dict[str, Any]]) -> None:
    """Add the replica that the environment names."""
    import dj_database_url

    name = os.environ.get(VARIABLE, "")
    own = databases["default"]
    stated = dj_database_url.parse(name) if "://" in name else {"NAME": name}
    databases["replica"] = {**own, **{key: value for key, value in stated.items() if key in ("NAME", "HOST", "PORT")}}
