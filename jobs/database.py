"""The one database of the job system: its connection, its transactions, and the router that keeps its models there.

All tables, statements and transactions of the job system use the alias `JOBS_DATABASE`, whatever routers the
project has. A decision that is read from a replica would be a decision about the past: an effect would run twice,
a live lease would be revoked.
"""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Callable
from typing import Any, cast

from django.db import connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import ConnectionRouter
from django.utils.functional import cached_property

from jobs.conf import database_alias

log = logging.getLogger("jobs.database")

LABEL = "jobs"
"""The app whose models live in that database."""


alias = database_alias


class _Connection:
    """The calling thread's connection to the job system's database, as `django.db.connection` is to the default one."""

    def __getattr__(self, name: str) -> Any:
        return getattr(connections[alias()], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(connections[alias()], name, value)


connection = cast(BaseDatabaseWrapper, _Connection())


ATOMIC = "transaction.atomic()"

_OPEN = (1, 2, 3)
"""libpq's PQTRANS_ACTIVE, PQTRANS_INTRANS and PQTRANS_INERROR."""


def open_transaction(own: Any) -> str:
    """Name what holds a transaction open on a connection of Django's, in any thread; empty where nothing does.

    The blocks that a TestCase puts around its tests do not count, as for `atomic(durable=True)`.
    """
    if own.in_atomic_block:
        return "" if all(block._from_testcase for block in own.atomic_blocks) else ATOMIC
    raw = own.connection
    if raw is None:
        return ""
    if not own.autocommit:
        return "set_autocommit(False)"
    try:
        is_open = raw.info.transaction_status in _OPEN if own.vendor == "postgresql" else raw.in_transaction
    except Exception:  # the driver's own classes: closed behind Django's back
        return ""
    return "BEGIN" if is_open else ""


def atomic() -> transaction.Atomic:
    """A transaction of the job system's database, or a savepoint inside one that is open. Not a decorator."""
    return transaction.atomic(using=alias())


def joins_caller() -> bool:
    """Whether what is written now is committed by the caller: in an open transaction, or with autocommit off."""
    found = connections[alias()]
    if found.in_atomic_block:
        return True
    return not (found.settings_dict["AUTOCOMMIT"] if found.connection is None else found.autocommit)


def on_commit(call: Callable[..., object], *arguments: Any) -> None:
    """Call after the commit of the open transaction, or at once where there is none. The call cannot fail its caller.

    With autocommit off nobody says when the caller commits: then housekeeping does what the call would have done.
    """
    if connection.in_atomic_block or not joins_caller():
        transaction.on_commit(lambda: after_commit(call, *arguments), using=alias())


def after_commit(call: Callable[..., object], *arguments: Any) -> None:
    """Try what follows a commit. What is committed is told as committed, so an error goes to the log alone."""
    try:
        call(*arguments)
    except Exception as error:
        with contextlib.suppress(Exception):  # a handler of the project's log may be what failed
            at = traceback.extract_tb(error.__traceback__)[-1]  # without the text of the error, which may quote values
            log.error(
                "could not do what follows a commit; housekeeping makes up for it: error=%s at=%s:%s",
                type(error).__name__, at.filename, at.lineno,
            )  # fmt: skip


BRIEF_MS = 200
"""Milliseconds that a thread which works for many waits for somebody else's lock, before it looks which one it is."""


def be_brief() -> None:
    """Have the calling thread's connections wait for locks only briefly, because it works for many jobs or requests.

    PostgreSQL waits without an end, or as long as the project's settings say. It does so still behind a pooler that shares
    sessions, where a session's settings would be those of strangers; Django asks for this setting there. SQLite has no
    locks of rows.
    """
    own = connections[alias()]
    if own.vendor != "postgresql" or own.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS") or own.in_atomic_block:
        return
    begin = own.init_connection_state

    def begin_briefly() -> None:
        begin()
        with own.connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = {BRIEF_MS}")
        if not own.get_autocommit():
            own.connection.commit()

    own.init_connection_state = begin_briefly  # type: ignore[method-assign]
    own.close()


class Router:
    """Sends every model of the job system to its database. It is asked before the project's own routers."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return alias() if model._meta.app_label == LABEL else None

    db_for_write = db_for_read

    def allow_relation(self, first: Any, second: Any, **hints: Any) -> bool | None:
        """Foreign keys between models of the job system stay inside its database."""
        return True if first._meta.app_label == second._meta.app_label == LABEL else None

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        """Only that database gets the tables."""
        return db == alias() if app_label == LABEL else None


def install_router() -> None:
    """Have our router asked before those of `DATABASE_ROUTERS`, also by a `ConnectionRouter` that a test makes later."""
    stated = ConnectionRouter.__dict__["routers"].func
    if getattr(stated, "has_ours", False):
        return

    def routers(self: ConnectionRouter) -> list[Any]:
        return [Router(), *stated(self)]

    routers.has_ours = True  # type: ignore[attr-defined]
    ConnectionRouter.routers = cached_property(routers)  # type: ignore[method-assign, assignment]
    ConnectionRouter.routers.__set_name__(ConnectionRouter, "routers")  # type: ignore[attr-defined]
    router.__dict__.pop("routers", None)  # what it had read before
