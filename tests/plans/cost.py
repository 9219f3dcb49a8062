"""What statements cost, counted instead of timed: pages that PostgreSQL looks at, steps of SQLite's machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, transaction

LARGE = frozenset(
    f"jobs_{name}" for name in ("job", "event", "idempotencykey", "jobtag", "logline", "effect", "minutestat")
)
"""Tables that grow with the work that was done."""

STEPS = 10
"""SQLite's steps between two ticks of the counter."""


@dataclass
class Cost:
    """Of all statements that a piece of code made."""

    statements: list[Statement] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(statement.amount for statement in self.statements)

    @property
    def scanned(self) -> list[str]:
        """The statements that read a large table from one end to the other."""
        return [statement.sql for statement in self.statements if statement.is_scan]

    def begin(self, sql: str) -> None:
        self.statements.append(Statement(sql))

    def add(self, amount: int) -> None:
        if self.statements:
            self.statements[-1].amount += amount


@dataclass
class Statement:
    sql: str
    amount: int = 0
    is_scan: bool = False


class _Undone(Exception):
    pass


def measure(action: Callable[[], object]) -> Cost:
    """What the action costs; nothing of what it did stays."""
    cost = Cost()
    watch = _on_postgresql if connection.vendor == "postgresql" else _on_sqlite
    try:
        with transaction.atomic():
            with watch(cost):
                action()
            raise _Undone
    except _Undone:
        return cost


@contextmanager
def _on_sqlite(cost: Cost) -> Iterator[None]:
    """A statement's steps count until the next one begins, since rows are made while they are fetched."""

    def step() -> int:
        cost.add(STEPS)
        return 0

    def watched(execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: Any) -> Any:
        cost.begin(sql)
        return execute(sql, parameters, many, context)

    connection.ensure_connection()
    raw = connection.connection
    raw.set_progress_handler(step, STEPS)
    try:
        with connection.execute_wrapper(watched):
            yield
    finally:
        raw.set_progress_handler(None, 0)


@contextmanager
def _on_postgresql(cost: Cost) -> Iterator[None]:
    """Each statement is run twice: once to be explained, which is undone."""

    def watched(execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: Any) -> Any:
        if not many and _has_plan(sql):
            savepoint = transaction.savepoint()
            with closing(connection.create_cursor()) as cursor:
                cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {sql}", parameters)
                found = cursor.fetchone()[0]
            transaction.savepoint_rollback(savepoint)
            plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
            pages = sum(node["Shared Hit Blocks"] + node["Shared Read Blocks"] for node in (plan, *_afterwards(plan)))
            is_scan = any(node["Node Type"] == "Seq Scan" and node["Relation Name"] in LARGE for node in _nodes(plan))
            cost.statements.append(Statement(sql, pages, is_scan))
        return execute(sql, parameters, many, context)

    with connection.execute_wrapper(watched):
        yield


def _has_plan(sql: str) -> bool:
    return sql.lstrip("( ").split(None, 1)[0].upper() in ("SELECT", "UPDATE", "INSERT", "DELETE", "WITH")


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Those that were executed at all."""
    if plan["Actual Loops"]:
        yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _afterwards(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Parts of WITH that nobody reads from are executed when the rest is done, and not counted in it."""
    nodes = list(_nodes(plan))
    read = {f"CTE {node['CTE Name']}" for node in nodes if node["Node Type"] == "CTE Scan"}
    return [
        node for node in nodes if node.get("Subplan Name", "").startswith("CTE ") and node["Subplan Name"] not in read
    ]
