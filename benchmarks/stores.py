"""The database of a measured system, as its settings name it and as the bench looks into it."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from typing import Any

import psycopg

from benchmarks import postgres
from benchmarks.services import Processes


class Store(ABC):
    """`url` is what Django's DATABASE_URL takes."""

    url: str

    @abstractmethod
    def __init__(self, processes: Processes) -> None: ...

    @abstractmethod
    def rows(self, query: str) -> list[Any]:
        """What the query answers, as it is committed."""

    @abstractmethod
    def write(self, statements: Iterable[str]) -> None:
        """Run them one after the other in a connection of their own, which begins no transaction by itself."""

    @abstractmethod
    def copies(self) -> Callable[[Processes], Store]:
        """What makes further databases like this one as it is now. Nobody else may be connected to it."""

    def number(self, query: str) -> int:
        return int(self.rows(query)[0][0])


class SQLiteStore(Store):
    def __init__(self, processes: Processes, content: bytes = b"") -> None:
        self.path = processes.folder / "db.sqlite3"
        self.path.write_bytes(content)
        self.url = f"sqlite:///{self.path}"

    def rows(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=10)) as database:
            return database.execute(query).fetchall()

    def write(self, statements: Iterable[str]) -> None:
        with closing(sqlite3.connect(self.path, timeout=10, isolation_level=None)) as database:
            for statement in statements:
                database.execute(statement)

    def copies(self) -> Callable[[Processes], Store]:
        self.write(["PRAGMA wal_checkpoint(TRUNCATE)"])
        return partial(SQLiteStore, content=self.path.read_bytes())


class PostgresStore(Store):
    def __init__(self, processes: Processes, template: str = "template1") -> None:
        self.url = postgres.database(processes, template)
        self._connection = psycopg.connect(self.url, autocommit=True)
        processes.afterwards(self._connection.close)

    def rows(self, query: str) -> list[Any]:
        return self._connection.execute(query.encode()).fetchall()

    def write(self, statements: Iterable[str]) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def copies(self) -> Callable[[Processes], Store]:
        self._connection.close()
        return partial(PostgresStore, template=postgres.kept(self.url))
