"""Run one attempt: from a claimed row to how it ended. No database, no Redis, but for what the handler does.

1. find the type; 2. read the payload; 3. call the handler under its timeout; 4. put into words and
JSON what came of it. Whatever the handler does, this returns an Ended.
"""

from __future__ import annotations

import asyncio
import os
import threading
from functools import lru_cache
from typing import Any

import orjson
import pydantic

from jobs import failpoints, leftovers, registry
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

TIMEOUT = "timeout"
"""The error code of an attempt that ran too long, however it was ended."""

TERMINATED = "terminated"
"""The error code of an attempt that was put back because a signal from elsewhere had told its process to stop."""

ALONE = (TIMEOUT, TERMINATED)
"""After an attempt with one of these error codes the next one runs in a process of its own."""


_forks: list[None] = []
"""As many as processes lie between the first one and this one. To ask for the process id takes a system call."""

os.register_at_fork(after_in_child=lambda: _forks.append(None))


def run(claimed: Claimed, context: JobContext, slot: Slot, watch: Watch) -> Ended:
    """Run the attempt in the calling thread."""
    state = leftovers.of_this_thread()
    slot.connections = state.connections
    try:
        return state.context.copy().run(_attempt, claimed, context, slot, watch)
    finally:
        state.clean()


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
        row.version,
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
    take their whole process with them, and with it whoever runs beside them, but not twice. Likewise where a signal
    of unknown origin stopped the process: a handler that sends it stops only itself the next time.
    """
    try:
        return row.crashes > 0 or row.error_code in ALONE or registry.get(row.type).is_isolated
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
