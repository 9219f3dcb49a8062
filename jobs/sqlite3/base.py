"""What Django looks for in an ENGINE: its own backend, whose writers take turns."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

from django.db.backends.sqlite3 import base

from jobs.sqlite3.turns import Turns, turns_of

WRITES = ("BEGIN", "INSERT", "UPDATE", "DELETE", "REPLAC")
"""Beginnings, of up to six letters, of statements that take the write lock; some begin otherwise, and do without a turn."""


ALTERS = ("PRAGMA", "ATTACH", "DETACH", "CREATE")
"""Beginnings of statements after which the connection may be another one than a new one would be: modes, temporary tables."""


class Connection(sqlite3.Connection):
    turns: Turns | None = None
    is_altered = False
    """True once a cursor of Django's has executed one of `ALTERS`."""

    def take_turn(self) -> None:
        """Raises what SQLite raises when the lock is not free in time; `give_turn` must follow all the same."""
        if self.turns is None or self.turns.is_mine:
            return
        ((timeout_ms,),) = self.execute("PRAGMA busy_timeout")
        if not self.turns.take(timeout_ms / 1000):
            raise sqlite3.OperationalError("database is locked")

    def give_turn(self) -> None:
        """Nothing, while a transaction is open."""
        if self.turns is not None and not self.in_transaction and self.turns.is_mine:
            self.turns.give()

    def commit(self) -> None:
        super().commit()
        self.give_turn()

    def rollback(self) -> None:
        super().rollback()
        self.give_turn()

    def close(self) -> None:
        try:
            super().close()
        finally:
            if self.turns is not None:
                self.turns.give()


class Cursor(base.SQLiteCursorWrapper):
    def execute(self, query: str, params: Any = None) -> Any:
        connection: Any = self.connection
        try:
            beginning = query.lstrip()[:6].rstrip().upper()
            if beginning in ALTERS:
                connection.is_altered = True
            elif beginning in WRITES and not connection.in_transaction:
                connection.take_turn()
            return super().execute(query, params)
        finally:
            connection.give_turn()


class DatabaseWrapper(base.DatabaseWrapper):
    def get_connection_params(self) -> dict[str, Any]:
        return {"factory": Connection, **super().get_connection_params()}

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        connection = super().get_new_connection(conn_params)
        name = str(self.settings_dict["NAME"])
        if not self.is_in_memory_db() and not name.startswith("file:"):
            with contextlib.suppress(OSError):  # a folder that cannot be written: then as SQLite does it
                connection.turns = turns_of(Path(name).resolve())
        return connection

    def create_cursor(self, name: str | None = None) -> Any:
        return self.connection.cursor(factory=Cursor)
