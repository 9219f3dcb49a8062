"""Side effects: reserved in the database before they happen, so that no crash repeats one silently.

An effect is a row, unique (job, name): executing, then done, not_done or in_doubt. The insert of
`executing` is committed before the block begins. The law is at the entry: a later attempt that finds
the effect executing or in doubt does not run it, whatever anybody else saw or missed; it asks the probe,
or follows `on_doubt`. Every commit here locks the job row first, under the fence of the attempt.

A commit inside a transaction of the handler is only a savepoint: a rollback would undo the reservation, and the next
attempt would run the effect again. So there an effect is refused before anything went out.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import traceback
from collections.abc import Iterator
from enum import Enum
from functools import partial

from jobs import failpoints
from jobs.conf import conf
from jobs.database import ATOMIC, atomic, connection
from jobs.effects import records
from jobs.effects.terms import (
    NOTHING_ACCEPTED,
    Answer,
    Attempt,
    Done,
    Effect,
    NotDone,
    Probe,
    Terms,
    Unknown,
    as_answer,
    proves,
)
from jobs.effects.transactions import (
    await_other_threads,
    check_duration,
    check_transaction,
    in_our_database_only,
    refusal,
    refuse_inside,
)
from jobs.errors import EffectHeld, Permanent, Retry
from jobs.interrupts import Slot
from jobs.models.effect import effect_key
from jobs.texts import Unstorable, clean_text, to_json

__all__ = [
    "NOTHING_ACCEPTED",
    "Attempt",
    "Done",
    "Effect",
    "NotDone",
    "Probe",
    "Terms",
    "Unknown",
    "effect",
    "transactional_effect",
]


@contextlib.contextmanager
def effect(attempt: Attempt, slot: Slot, terms: Terms) -> Iterator[Effect]:
    """Reserve, run the block, record. Raises LeaseLost, EffectHeld, EffectInTransaction, CancelRequested at the entry."""
    with _sheltered(slot) as shelter:
        handle = _enter(attempt, slot, terms)
        if not handle.pending:
            shelter.close()
            yield handle
            return
        try:
            yield handle
        except BaseException as error:
            _record_error(attempt, slot, terms, handle, error)
            raise
        _record_end(attempt, slot, terms, handle)


@contextlib.contextmanager
def transactional_effect(attempt: Attempt, slot: Slot, terms: Terms) -> Iterator[Effect]:
    """The block's own database writes and the effect's `done` are one commit: exactly once."""
    if _is_in_event_loop():
        raise RuntimeError("a transactional effect needs a plain `def` handler: awaited code has other connections")
    with _sheltered(slot) as shelter:
        handle = _enter(attempt, slot, terms, is_reserving=False)
        if not handle.pending:
            shelter.close()
            yield handle
            return
        began = time.monotonic()
        with atomic():
            with slot.masked():
                records.lock(attempt)
                row = records.read(attempt.job_id, terms.name)
                mark = connection.savepoint()  # it goes with the transaction
            if row is not None and row.status == "done":  # settled by a person since we looked
                yield _handle(attempt, terms, is_pending=False, result=row.result)
                return
            with in_our_database_only(terms):
                yield handle
            check_duration(terms, time.monotonic() - began)
            result = None if handle.result is None else to_json(handle.result, conf().result_max_bytes)
            with slot.masked():
                check_transaction(terms, mark)
                records.reserve(attempt, terms, row, is_transactional=True)
                records.record(attempt, slot, terms.name, "done", result=result)


@contextlib.contextmanager
def _sheltered(slot: Slot) -> Iterator[contextlib.ExitStack]:
    """From the reservation to the record a cancel waits: an interrupted effect would be in doubt."""
    try:
        with contextlib.ExitStack() as shelter:
            shelter.enter_context(slot.shielded())
            yield shelter
    finally:
        slot.raise_cancel()


# --- the entry ------------------------------------------------------------------------------------


class _Next(Enum):
    ASK = "ask the probe, then decide again"
    HOLD = "a person has to settle it"


def _enter(attempt: Attempt, slot: Slot, terms: Terms, *, is_reserving: bool = True) -> Effect:
    """The law. Where a probe is asked, the row is read again after: a person may have settled it meanwhile."""
    answer: Answer | None = None
    while True:
        if is_reserving:
            await_other_threads(attempt, slot, terms)
        with slot.masked():
            with _blocking():
                found = records.patiently(
                    partial(_decide, attempt, slot, terms, answer, is_reserving=is_reserving), slot
                )
            if isinstance(found, Effect) and found.pending and is_reserving and slot.will_raise:
                with _blocking():
                    records.record(attempt, slot, terms.name, "not_done", error="the attempt was ended before it began")
        if isinstance(found, Effect):
            if found.pending and is_reserving:
                attempt.begun.add(terms.name)
                failpoints.hit("effect.after_reserve")
            return found
        if found is _Next.HOLD:
            raise EffectHeld(f"the effect {terms.name!r} is in doubt since an earlier attempt")
        assert terms.probe is not None
        answer = as_answer(terms.probe(effect_key(attempt.job_id, terms.name)))


def _decide(attempt: Attempt, slot: Slot, terms: Terms, answer: Answer | None, *, is_reserving: bool) -> Effect | _Next:
    is_nested = refuse_inside(attempt, terms, is_reserving=is_reserving)
    with atomic():
        return _decided(attempt, slot, terms, answer, is_reserving=is_reserving, is_nested=is_nested)


def _decided(
    attempt: Attempt, slot: Slot, terms: Terms, answer: Answer | None, *, is_reserving: bool, is_nested: bool
) -> Effect | _Next:
    records.lock(attempt)
    row = records.read(attempt.job_id, terms.name)
    if row is not None and row.status == "done":
        records.say(attempt, terms.name, "done already, not run again")
        return _handle(attempt, terms, is_pending=False, result=row.result)
    if row is not None and row.status != "not_done":
        if row.status == "executing" and row.attempt == attempt.attempt:
            if terms.name in attempt.begun:
                raise RuntimeError(f"the effect {terms.name!r} is entered inside itself")
            return _handle(attempt, terms, is_pending=True)  # reserved a moment ago, and the commit's answer was lost
        if is_nested:
            raise refusal(attempt, terms, f"it is in doubt, and {ATOMIC} holds a transaction open")
        if answer is None and terms.probe is not None:
            return _Next.ASK
        if isinstance(answer, Done):
            result = None if answer.result is None else to_json(answer.result, conf().result_max_bytes)
            records.record(
                attempt, slot, terms.name, "done", result=result, settled_by="probe", reserved_by=row.attempt
            )
            return _handle(attempt, terms, is_pending=False, result=answer.result)
        if not (isinstance(answer, NotDone) or terms.on_doubt == "repeat"):
            if terms.on_doubt == "hold":
                records.hold(attempt, terms.name)
                return _Next.HOLD
            records.record(attempt, slot, terms.name, "done", settled_by="policy", reserved_by=row.attempt)
            return _handle(attempt, terms, is_pending=False)
    if is_reserving:
        records.reserve(attempt, terms, row)
    return _handle(attempt, terms, is_pending=True)


def _handle(attempt: Attempt, terms: Terms, *, is_pending: bool, result: object = None) -> Effect:
    return Effect(terms.name, effect_key(attempt.job_id, terms.name), is_pending, result)


# --- the end --------------------------------------------------------------------------------------


def _record_error(attempt: Attempt, slot: Slot, terms: Terms, handle: Effect, error: BaseException) -> None:
    """The block was left by an exception: doubt, unless something proves that nothing happened."""
    is_proof = proves(error, terms.not_done_on) and not any(known is error for known in attempt.judged)
    is_not_done = handle._is_not_done or isinstance(error, (Retry, Permanent)) or is_proof
    attempt.judged.append(error)
    with slot.masked(), _blocking():
        reason = clean_text("".join(traceback.format_exception_only(error)).strip())
        records.record(attempt, slot, terms.name, "not_done" if is_not_done else "in_doubt", error=reason)


def _record_end(attempt: Attempt, slot: Slot, terms: Terms, handle: Effect) -> None:
    status = "not_done" if handle._is_not_done else "done"
    with slot.masked(), _blocking():
        try:
            result = None if handle.result is None else to_json(handle.result, conf().result_max_bytes)
        except Unstorable:
            records.record(attempt, slot, terms.name, status)  # it happened, though its result cannot be kept
            raise
        records.record(attempt, slot, terms.name, status, result=result)


# --- handlers that are `async def` ----------------------------------------------------------------


def _is_in_event_loop() -> bool:
    return asyncio._get_running_loop() is not None


@contextlib.contextmanager
def _blocking() -> Iterator[None]:
    """Our short commits inside an `async def` handler: the loop is its own and may wait for them.

    Django refuses its connections to a thread that runs an event loop; for these few statements the
    thread says that it runs none.
    """
    loop = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)
