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


class Connection(sqlite3.Connection):
    turns: Turns | None = None
    timeout_s = 0.0
    is_my_turn = False

    def take_turn(self) -> None:
        """Raises what SQLite raises when the lock is not free in time."""
        if self.turns is not None and not self.is_my_turn:
            if not self.turns.take(self.timeout_s):
                raise sqlite3.OperationalError("database is locked")
            self.is_my_turn = True

    def give_turn(self) -> None:
        """Nothing, while a transaction is open or when it is not ours."""
        if self.is_my_turn and not self.in_transaction:
            self.is_my_turn = False
            assert self.turns is not None
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
            if self.is_my_turn and self.turns is not None:
                self.is_my_turn = False
                self.turns.give()


class Cursor(base.SQLiteCursorWrapper):
    def execute(self, query: str, params: Any = None) -> Any:
        connection: Any = self.connection
        if not connection.in_transaction and query.lstrip()[:6].rstrip().upper() in WRITES:
            connection.take_turn()
        try:
            return super().execute(query, params)
        finally:
            connection.give_turn()


class DatabaseWrapper(base.DatabaseWrapper):
    def get_connection_params(self) -> dict[str, Any]:
        return {"factory": Connection, **super().get_connection_params()}

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        connection = super().get_new_connection(conn_params)
        connection.timeout_s = conn_params.get("timeout", 5.0)
        name = str(self.settings_dict["NAME"])
        if not self.is_in_memory_db() and not name.startswith("file:"):
            with contextlib.suppress(OSError):  # a folder that cannot be written: then as SQLite does it
                connection.turns = turns_of(Path(name).resolve())
        return connection

    def create_cursor(self, name: str | None = None) -> Any:
        return self.connection.cursor(factory=Cursor)
