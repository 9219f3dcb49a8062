"""Transactions around and inside of effects: where none may begin, and whether a transactional one still has its own."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

from django.db import DatabaseError, connections

from jobs.database import ATOMIC, alias, connection, open_transaction
from jobs.effects.terms import Attempt, Terms
from jobs.errors import EffectInTransaction
from jobs.interrupts import Slot

TRANSACTION_LIMIT_S = 2.0
"""How long a transactional effect may hold SQLite's only write lock, and how long an effect waits for a transaction
of the handler's other threads to end."""

PAUSE_S = 0.01
"""Seconds between two looks at the connections of other threads."""


def refuse_inside(attempt: Attempt, terms: Terms, *, is_reserving: bool) -> bool:
    """Refuse an effect whose reservation would not be committed. Say whether a transactional one is inside of
    `transaction.atomic()`, and so is part of that."""
    if not connection.in_atomic_block:
        connection.ensure_connection()
    held_by = open_transaction(connections[alias()])
    if held_by and (is_reserving or held_by != ATOMIC):
        raise refusal(attempt, terms, f"{held_by} holds a transaction open")
    return bool(held_by)


def await_other_threads(attempt: Attempt, slot: Slot, terms: Terms) -> None:
    """Wait until no other thread of the handler is inside a transaction, for a while. It may be over in a moment; if it
    waits for this effect it never is."""
    give_up = time.monotonic() + TRANSACTION_LIMIT_S
    while True:
        others = [own for reference in tuple(slot.connections) if _is_of_another_thread(own := reference())]
        held_by = next(filter(None, map(open_transaction, others)), "")
        if not held_by:
            return
        if time.monotonic() > give_up:
            raise refusal(attempt, terms, f"{held_by} holds a transaction open in another thread of the handler")
        time.sleep(PAUSE_S)


def _is_of_another_thread(own: Any) -> bool:
    return own is not None and own.alias == alias() and own is not connections[alias()]


def refusal(attempt: Attempt, terms: Terms, why: str) -> EffectInTransaction:
    error = EffectInTransaction(
        f"the effect {terms.name!r} was refused before anything went out: {why}, and a rollback would undo its"
        " reservation; enter the effect outside of the transaction, or submit a job for it there (it is kept only if"
        " the transaction is), or, if it is only rows of this database, say transactional=True"
        " inside transaction.atomic()"
    )
    attempt.refused.append(error)
    return error


WRITES = re.compile(
    r"(\s|/\*.*?\*/|--[^\n]*\n)*"
    r"(INSERT|UPDATE|DELETE|MERGE|REPLACE|TRUNCATE|WITH\b.*\b(INSERT\s+INTO|UPDATE|DELETE\s+FROM))\b",
    re.IGNORECASE | re.DOTALL,
)
"""The beginning of a statement that changes rows."""


@contextlib.contextmanager
def in_our_database_only(terms: Terms) -> Iterator[None]:
    """Inside the block of a transactional effect the thread's other connections of Django's may read only: their commit is not ours."""

    def refuse(execute: Callable[..., Any], sql: Any, parameters: Any, many: bool, context: dict[str, Any]) -> Any:
        if WRITES.match(sql if isinstance(sql, str) else sql.as_string(context["connection"].connection)):
            raise RuntimeError(
                f"the block of the transactional effect {terms.name!r} was to write into the database"
                f" {context['connection'].alias!r}: only what is in JOBS_DATABASE ({alias()!r}) is committed together with"
                " the effect; nothing was written there, and it is not done"
            )
        return execute(sql, parameters, many, context)

    own = connections[alias()]
    with contextlib.ExitStack() as stack:
        for name in connections:
            if (other := connections[name]) is not own:
                stack.enter_context(other.execute_wrapper(refuse))
        yield


def check_duration(terms: Terms, seconds: float) -> None:
    if connection.vendor == "sqlite" and seconds > TRANSACTION_LIMIT_S:
        raise TimeoutError(
            f"the transactional effect {terms.name!r} held SQLite's write lock for more than"
            f" {TRANSACTION_LIMIT_S:g} s; it was rolled back"
        )


def check_transaction(terms: Terms, mark: Any) -> None:
    """The transaction that the block began in is still open, and will be committed."""
    if connection.get_rollback():
        raise RuntimeError(
            f"the block of the transactional effect {terms.name!r} asked for a rollback, or closed the connection:"
            " its rows are gone, and it is not done; leave the block by an exception instead"
        )
    try:
        connection.savepoint_commit(mark)
    except DatabaseError as error:
        raise RuntimeError(
            f"the block of the transactional effect {terms.name!r} ended the transaction by a COMMIT or ROLLBACK, or"
            " went on after an error of the database: it is not done, and rows that it committed so stay"
        ) from error
