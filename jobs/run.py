"""Run one attempt: from a claimed row to how it ended. No database, no Redis, but for what the handler does.

1. find the type; 2. read the payload; 3. call the handler under its timeout; 4. put into words and
JSON what came of it. Whatever the handler does, this returns an Ended.

Each attempt starts in the same context: what a handler sets in context variables, and by them Django's time zone,
language and URLconf, ends with its attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, ContextVar
from functools import lru_cache
from typing import Any

import orjson
import pydantic
from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from django.core.cache import caches
from django.db import connections
from django.db.backends.signals import connection_created

from jobs import failpoints, registry
from jobs.conf import conf
from jobs.context import JobContext
from jobs.errors import (
    CancelRequested,
    EffectHeld,
    EffectInTransaction,
    LeaseLost,
    Permanent,
    Retry,
    SoftTimeout,
    UnknownType,
)
from jobs.interrupts import Slot, Watch
from jobs.lifecycle import Budget, End
from jobs.registry import JobType
from jobs.retry import Backoff
from jobs.rows import Row
from jobs.texts import Unstorable, clean_text, error_texts, to_json
from jobs.transitions import Claimed, Ended

IDLE = 0  # libpq's PQTRANS_IDLE

FORGET_SESSION = (
    "SET SESSION AUTHORIZATION DEFAULT; RESET ALL; CLOSE ALL; UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD TEMP"
)
"""What `DISCARD ALL` does, but for prepared statements, which the driver believes to be still there."""

HELPER_S = 1.0
"""Seconds that a thread waits for its helper of `sync_to_async`, which as a rule is idle by then."""

TIMEOUT = "timeout"
"""The error code of an attempt that ran too long, however it was ended."""


_thread = threading.local()
_forks: list[None] = []
"""As many as processes lie between the first one and this one. To ask for the process id takes a system call."""

os.register_at_fork(after_in_child=lambda: _forks.append(None))


_connections: ContextVar[list[weakref.ref[Any]]] = ContextVar("jobs.connections")
"""Connections that were opened by a handler, in its thread or in others that were given its context."""


def _note_connection(connection: Any, **_: Any) -> None:
    _thread.has_connected = True
    known = _connections.get(None)
    if known is not None and not any(reference() is connection for reference in known):
        known[:] = [*(reference for reference in known if reference() is not None), weakref.ref(connection)]


connection_created.connect(_note_connection, dispatch_uid="jobs.run")


class World:
    """What one thread gives to each of its attempts."""

    def __init__(self) -> None:
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


def run(claimed: Claimed, context: JobContext, slot: Slot, watch: Watch) -> Ended:
    """Run the attempt in the calling thread."""
    world: World = getattr(_thread, "world", None) or _thread.__dict__.setdefault("world", World())
    slot.connections = world.connections
    try:
        return world.context.copy().run(_attempt, claimed, context, slot, watch)
    finally:
        _leave_no_transaction()
        if len(world.connections) > 1:
            world.clean_helper()


def _attempt(claimed: Claimed, context: JobContext, slot: Slot, watch: Watch) -> Ended:
    token = object()
    try:
        failpoints.hit("run.start")
        job_type = registry.get(claimed.row.type)
        payload = _payload(job_type, claimed.payload)
        with slot.running(token), watch.over(token, claimed.timeout_s, slot, SoftTimeout):
            context.begin(token, slot)
            value = _call_here(job_type, context, payload, slot)
        if context.refused:
            raise context.refused[0]
        return _returned(claimed.row, context, value)
    except BaseException as error:  # SystemExit and the like end an attempt, not the worker
        return _raised(claimed, context, error)


def _payload(job_type: JobType, text: str) -> Any:
    document = orjson.loads(text)
    if job_type.payload is None:
        return document
    try:
        return job_type.payload.model_validate(document)
    except pydantic.ValidationError as error:
        fields = ", ".join("/".join(str(part) for part in item["loc"]) or "/" for item in error.errors())
        raise Permanent("invalid-payload", f"the payload does not fit the type's present code: {fields}") from None


def _call_here(job_type: JobType, context: JobContext, payload: Any, slot: Slot) -> Any:
    """What the handler returns. A process that it forked and that comes back from it ends here: as a second worker
    without the first one's threads it would hold on for ever, and the handler that waits for it as well."""
    here = len(_forks)
    try:
        value = call(job_type, context, payload, slot)
    except BaseException as error:
        if len(_forks) != here:
            os._exit(_exit_code(error))
        raise
    if len(_forks) != here:
        os._exit(0)
    return value


def _exit_code(error: BaseException) -> int:
    """As the interpreter would have ended."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 1


def call(job_type: JobType, context: JobContext, payload: Any, slot: Slot) -> Any:
    """What the handler returns; an `async def` runs in an event loop of its own."""
    if not job_type.is_async:
        return job_type.function(context, payload)

    async def main() -> Any:
        task = asyncio.current_task()
        assert task is not None
        loop, here = asyncio.get_running_loop(), threading.get_ident()

        def wake() -> None:
            if threading.get_ident() != here or asyncio.current_task(loop) is not task:
                loop.call_soon_threadsafe(task.cancel)

        with slot.waking(wake):
            return await job_type.function(context, payload)

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        if slot.fired is not None:
            raise slot.fired() from None
        raise


def _returned(row: Row, context: JobContext, value: Any) -> Ended:
    result = None if value is None else to_json(value, conf().result_max_bytes)
    return ended(row, context, End.RETURNED, result=result)


def _raised(claimed: Claimed, context: JobContext, error: BaseException) -> Ended:
    """The end of an attempt whose handler raised."""
    row = claimed.row
    message, text = error_texts(error)
    delay_s = backoff_s(row)
    end = End.RAISED
    code: str | None = clean_text(type(error).__name__, 64)
    if isinstance(error, SoftTimeout):
        code, message = TIMEOUT, f"the attempt ran longer than {claimed.timeout_s} s"
    elif isinstance(error, Permanent):
        end, code = End.PERMANENT, clean_text(error.failure_code, 64)
    elif isinstance(error, Unstorable):
        end, code = End.PERMANENT, "unstorable"
    elif isinstance(error, EffectInTransaction):
        end, code = End.PERMANENT, error.code  # each attempt would repeat the handler's work up to the same line
    elif isinstance(error, UnknownType):
        code = error.code
    elif isinstance(error, Retry):
        code = "retry"
        delay_s = delay_s if error.after_s is None else error.after_s
    elif isinstance(error, CancelRequested):
        end, code = End.RELEASED, None  # the row knows of the cancel: this aborts
    elif isinstance(error, LeaseLost | EffectHeld):
        code = "lease-lost" if isinstance(error, LeaseLost) else "effect-in-doubt"
    elif context.should_stop and not context.is_cancelled:
        end = End.RELEASED  # told to stop, it left by an exception: no failure of its own
    return ended(row, context, end, delay_s=delay_s, error_code=code, error_message=message, error_text=text)


def ended(row: Row, context: JobContext, end: End, **facts: Any) -> Ended:
    """An Ended of this attempt, with its fence, budget and last progress."""
    _, progress = context.latest_progress
    assert row.lease_id is not None
    return Ended(
        row.id,
        row.attempt,
        row.lease_id,
        end,
        budget_of(row),
        context.has_effects,
        progress=None if progress is None else orjson.dumps(progress).decode(),
        claimed=row,
        **facts,
    )


def is_isolated(row: Row) -> bool:
    """Whether an attempt runs in a process of its own.

    By its type, or because an earlier attempt crashed or ran too long: those that cannot be interrupted
    take their whole process with them, and with it whoever runs beside them, but not twice.
    """
    try:
        return row.crashes > 0 or row.error_code == TIMEOUT or registry.get(row.type).is_isolated
    except UnknownType:
        return False


def backoff_s(row: Row) -> float:
    """Seconds until the next attempt, were this one to fail."""
    try:
        backoff = registry.get(row.type).backoff
    except UnknownType:
        backoff = Backoff()
    return backoff.delay_s(row.failures + 1)


def budget_of(row: Row) -> Budget:
    return _budget(row.failures, row.failures_allowed, row.crashes, row.crashes_allowed)


_budget = lru_cache(maxsize=256)(Budget)
"""Most jobs have the same."""


def _leave_no_transaction() -> None:
    """A handler may leave its thread's connection broken or inside a transaction: the next one must not see it.

    So may a soft timeout that arrives while Django enters or leaves a block. `close` inside a block keeps the dead
    connection for whoever leaves the block; here nobody will, so the block is forgotten first.
    """
    if not getattr(_thread, "has_connected", False):  # asking Django costs more than a job that does nothing
        return
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block or not connection.get_autocommit() or _is_in_transaction(connection):
            connection.in_atomic_block = connection.closed_in_transaction = False
            with contextlib.suppress(
                Exception
            ):  # a cursor that the handler keeps would keep SQLite's lock, though closed
                connection.connection.rollback()
            connection.close()
        else:
            connection.close_if_unusable_or_obsolete()
            if hasattr(connection.connection, "give_turn"):  # an interrupt may have come while it was given
                connection.connection.give_turn()
            _forget_session(connection)


def _forget_session(connection: Any) -> None:
    """Settings, roles, temporary tables and advisory locks of PostgreSQL's session are a handler's own. One round
    trip, and none for a thread whose handlers have not asked the database."""
    if connection.vendor != "postgresql" or connection.connection is None:
        return
    try:
        connection.connection.execute(FORGET_SESSION, prepare=False)
        connection.init_connection_state()
    except Exception:  # the driver's own classes
        connection.close()


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
