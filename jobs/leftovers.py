"""What an attempt leaves on its thread is gone before the next one starts: its context, its transactions, its session.

Each attempt runs in a context of its own: what a handler sets in context variables, and by them Django's time zone,
language and URLconf, ends with its attempt.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, ContextVar
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from django.conf import settings
from django.core.cache import caches
from django.db import connections, reset_queries
from django.db.backends.signals import connection_created

IDLE = 0  # libpq's PQTRANS_IDLE

FORGET_SESSION = (
    "SET SESSION AUTHORIZATION DEFAULT; RESET ALL; CLOSE ALL; UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD TEMP"
)
"""What `DISCARD ALL` does, but for prepared statements, which the driver believes to be still there."""

HELPER_S = 1.0
"""Seconds that a thread waits for its helper of `sync_to_async`, which as a rule is idle by then."""

_thread = threading.local()
_connections: ContextVar[list[weakref.ref[Any]]] = ContextVar("jobs.connections")
"""Connections that were opened by a handler, in its thread or in others that were given its context."""


def _note_connection(connection: Any, **_: Any) -> None:
    _thread.has_connected = True
    known = _connections.get(None)
    if known is not None and not any(reference() is connection for reference in known):
        known[:] = [*(reference for reference in known if reference() is not None), weakref.ref(connection)]


connection_created.connect(_note_connection, dispatch_uid="jobs.leftovers")


class State:
    """What one thread gives to each of its attempts."""

    def __init__(self) -> None:
        self.signal_mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self.connections = [weakref.ref(connection) for connection in connections.all(initialized_only=True)]
        self.context = Context()
        self.context.run(self._furnish)

    def _furnish(self) -> None:
        """Caches keep their connections over attempts, which they would open in each context again."""
        _connections.set(self.connections)
        self.renew_helper()
        with contextlib.suppress(Exception):  # a cache of the project's that cannot be made is its handlers' own affair
            caches.all()

    def renew_helper(self) -> None:
        """`sync_to_async` runs what awaits the ORM in one thread: one for each of ours, since a transaction that a
        handler leaves open there would take in what others write."""
        self.helper = ThreadSensitiveContext()
        SyncToAsync.thread_sensitive_context.set(self.helper)

    def clean_helper(self) -> None:
        """Have the helper's thread leave no transaction. One that is busy still goes with what it does."""
        executor = SyncToAsync.context_to_thread_executor.get(self.helper)
        if not isinstance(executor, ThreadPoolExecutor):
            return
        try:
            executor.submit(_leave_no_transaction).result(timeout=HELPER_S)
        except Exception:
            executor.submit(connections.close_all)
            executor.shutdown(wait=False)
            self.context.run(self.renew_helper)

    def clean(self) -> None:
        """After each attempt."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self.signal_mask)  # programs of the next one would inherit a change
        _leave_no_transaction()
        if len(self.connections) > 1:
            self.clean_helper()


def of_this_thread() -> State:
    state: State = getattr(_thread, "state", None) or _thread.__dict__.setdefault("state", State())
    return state


def forget_queries() -> None:
    """With DEBUG Django keeps a thread's last 9,000 statements, values included, until a request begins. In threads that
    serve no requests they are forgotten here: results and payloads may be large."""
    if settings.DEBUG:
        reset_queries()


def _leave_no_transaction() -> None:
    """A handler may leave its thread's connection broken or inside a transaction: the next one must not see it.

    So may a soft timeout that arrives while Django enters or leaves a block. `close` inside a block keeps the dead
    connection for whoever leaves the block; here nobody will, so the block is forgotten first.
    """
    if not getattr(_thread, "has_connected", False):  # asking Django costs more than a job that does nothing
        return
    forget_queries()
    for connection in connections.all(initialized_only=True):
        try:
            _leave_as_new(connection)
        except Exception:  # the drivers' own classes; what happens here is not the attempt's affair
            with contextlib.suppress(Exception):
                connection.close()


def _leave_as_new(connection: Any) -> None:
    if connection.connection is None:  # Django would connect to answer, maybe to a database that is away
        connection.in_atomic_block = connection.closed_in_transaction = False
    elif connection.in_atomic_block or not connection.autocommit or _is_in_transaction(connection):
        connection.in_atomic_block = connection.closed_in_transaction = False
        with contextlib.suppress(Exception):  # closed, a cursor that the handler keeps would keep SQLite's lock
            connection.connection.rollback()
        connection.close()
    elif getattr(connection.connection, "is_altered", False):
        connection.close()  # SQLite's modes and temporary tables are a handler's own
    else:
        connection.close_if_unusable_or_obsolete()
        if hasattr(connection.connection, "give_turn"):  # an interrupt may have come while it was given
            connection.connection.give_turn()
        _forget_session(connection)


def _forget_session(connection: Any) -> None:
    """Settings, roles, temporary tables and advisory locks of PostgreSQL's session are a handler's own. One round
    trip, and none for a thread whose handlers have not asked the database.

    What the project does to each new connection it does again."""
    if connection.vendor != "postgresql" or connection.connection is None:
        return
    connection.connection.execute(FORGET_SESSION, prepare=False)
    connection.init_connection_state()
    connection_created.send(sender=type(connection), connection=connection)


def _is_in_transaction(connection: Any) -> bool:
    """Whether one is open that Django did not begin: `BEGIN` as plain SQL. On SQLite it may hold the only write
    lock, and then nothing is accepted or renewed until this process ends. True for a connection that is closed."""
    raw = connection.connection
    if raw is None:
        return False
    try:
        return bool(raw.info.transaction_status != IDLE if connection.vendor == "postgresql" else raw.in_transaction)
    except Exception:  # the driver's own classes: closed behind Django's back
        return True
