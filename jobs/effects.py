"""Side effects: reserved in the database before they happen, so that no crash repeats one silently.

An effect is a row, unique (job, name): executing, then done, not_done or in_doubt. The insert of
`executing` is committed before the block begins. The law is at the entry: a later attempt that finds
the effect executing or in doubt does not run it, whatever anybody else saw or missed; it asks the probe,
or follows `on_doubt`. Every commit here locks the job row first, under the fence of the attempt.
"""

from __future__ import annotations

import contextlib
import logging
import re
import smtplib
import socket
import ssl
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django.db import connection, transaction

from jobs.conf import conf
from jobs.errors import CancelRequested, EffectHeld, LeaseLost, Permanent, Retry
from jobs.interrupts import Slot
from jobs.models.clock import NOW
from jobs.models.effect import effect_key
from jobs.rows import db_id, is_postgresql
from jobs.texts import Unstorable, clean_text, to_json

log = logging.getLogger("jobs.effects")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

NOTHING_ACCEPTED: tuple[type[BaseException], ...] = (
    ConnectionRefusedError,
    socket.gaierror,
    ssl.SSLCertVerificationError,
    smtplib.SMTPResponseException,  # an answer that rejects: sender, data, authentication, greeting
    smtplib.SMTPRecipientsRefused,
    smtplib.SMTPNotSupportedError,
)
"""Errors that prove that nothing was accepted. With anything vaguer mails would be sent twice."""

WORDS = {"done": "executed", "not_done": "not done", "in_doubt": "in doubt"}
"""How an effect ended, for the worker's log."""

TRANSACTION_LIMIT_S = 2.0
"""How long a transactional effect may hold SQLite's only write lock."""


@dataclass(frozen=True, slots=True)
class Done:
    """A probe's answer: it happened, with that result."""

    result: Any = None


class NotDone:
    """A probe's answer: it did not happen, and will not."""


class Unknown:
    """A probe's answer: it cannot tell."""


Probe = Callable[[str], "Done | NotDone | Unknown | type[NotDone] | type[Unknown]"]
"""Called with the effect's key, under the new lease. What it raises is a failure of the attempt."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """The fence that everything of one attempt is written under."""

    job_id: uuid.UUID
    attempt: int
    lease_id: uuid.UUID


@dataclass(slots=True)
class Effect:
    """What the handler's `with` block gets."""

    name: str
    key: str
    """The same over all attempts: for providers that take idempotency keys."""

    pending: bool
    """False when it is done already, by an earlier attempt or by policy."""

    result: Any = None
    """Set it inside the block; an effect that is done gives what was stored."""

    _is_not_done: bool = field(default=False)

    def not_done(self) -> None:
        """State that nothing happened: leaving the block afterwards, however, is no doubt."""
        self._is_not_done = True


@dataclass(frozen=True, slots=True)
class Terms:
    """How one effect is to be treated."""

    name: str
    on_doubt: str = "hold"
    probe: Probe | None = None
    not_done_on: tuple[type[BaseException], ...] = NOTHING_ACCEPTED

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name of an effect: letters, digits, '.', '_' and '-', at most 64")
        if self.on_doubt not in ("hold", "skip", "repeat"):
            raise ValueError(f"on_doubt is hold, skip or repeat, not {self.on_doubt!r}")


@contextlib.contextmanager
def effect(attempt: Attempt, slot: Slot, terms: Terms) -> Iterator[Effect]:
    """Reserve, run the block, record. Raises LeaseLost, EffectHeld, CancelRequested at the entry."""
    handle = _enter(attempt, slot, terms)
    if not handle.pending:
        yield handle
        return
    try:
        with slot.shielded():
            yield handle
    except BaseException as error:
        is_not_done = handle._is_not_done or isinstance(error, (Retry, Permanent)) or _proves(error, terms.not_done_on)
        with slot.masked():
            reason = clean_text("".join(traceback.format_exception_only(error)).strip())
            _record(attempt, terms.name, "not_done" if is_not_done else "in_doubt", error=reason)
        raise
    status = "not_done" if handle._is_not_done else "done"
    with slot.masked():
        try:
            result = None if handle.result is None else to_json(handle.result, conf().result_max_bytes)
        except Unstorable:
            _record(attempt, terms.name, status)  # it happened, though its result cannot be kept
            raise
        _record(attempt, terms.name, status, result=result)
    slot.raise_cancel()


@contextlib.contextmanager
def transactional_effect(attempt: Attempt, slot: Slot, terms: Terms) -> Iterator[Effect]:
    """The block's own database writes and the effect's `done` are one commit: exactly once."""
    began = time.monotonic()
    with slot.shielded(), transaction.atomic():
        with slot.masked():
            _lock(attempt)
            row = _read(attempt.job_id, terms.name)
        if row is not None and row.status == "done":
            yield Effect(terms.name, effect_key(attempt.job_id, terms.name), False, row.result)
            return
        handle = Effect(terms.name, effect_key(attempt.job_id, terms.name), True)
        yield handle
        if connection.vendor == "sqlite" and time.monotonic() - began > TRANSACTION_LIMIT_S:
            raise TimeoutError(
                f"the transactional effect {terms.name!r} held SQLite's write lock for more than"
                f" {TRANSACTION_LIMIT_S:g} s; it was rolled back"
            )
        result = None if handle.result is None else to_json(handle.result, conf().result_max_bytes)
        with slot.masked():
            _reserve(attempt, terms, row, is_transactional=True)
            _record(attempt, terms.name, "done", result=result)
    slot.raise_cancel()


# --- the entry ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Stored:
    status: str
    attempt: int
    result: Any


def _enter(attempt: Attempt, slot: Slot, terms: Terms) -> Effect:
    key = effect_key(attempt.job_id, terms.name)
    with slot.masked(), transaction.atomic():
        _lock(attempt)
        row = _read(attempt.job_id, terms.name)
        if row is None or row.status == "not_done":
            _reserve(attempt, terms, row)
            return Effect(terms.name, key, True)
        if row.status == "done":
            _say(attempt, terms.name, "done already, not run again")
            return Effect(terms.name, key, False, row.result)
        if row.status == "executing" and row.attempt == attempt.attempt:
            raise RuntimeError(f"the effect {terms.name!r} is entered inside itself")
    return _in_doubt(attempt, slot, terms, row, key)


def _in_doubt(attempt: Attempt, slot: Slot, terms: Terms, row: _Stored, key: str) -> Effect:
    """The law: ask the probe, then follow the policy."""
    answer = terms.probe(key) if terms.probe is not None else Unknown()
    with slot.masked(), transaction.atomic():
        _lock(attempt)
        if isinstance(answer, Done):
            result = None if answer.result is None else to_json(answer.result, conf().result_max_bytes)
            _record(attempt, terms.name, "done", result=result, settled_by="probe", reserved_by=row.attempt)
            return Effect(terms.name, key, False, answer.result)
        if isinstance(answer, NotDone) or answer is NotDone or terms.on_doubt == "repeat":
            _reserve(attempt, terms, row)
            return Effect(terms.name, key, True)
        if terms.on_doubt == "skip":
            _record(attempt, terms.name, "done", settled_by="policy", reserved_by=row.attempt)
            return Effect(terms.name, key, False)
        # A person has to settle it: the probe, if there is one, was asked and did not know.
        _hold(attempt, terms.name)
    raise EffectHeld(f"the effect {terms.name!r} of attempt {row.attempt} is in doubt")


# --- SQL, inside the caller's transaction ---------------------------------------------------------


def _lock(attempt: Attempt) -> None:
    """Lock the job row under the fence. Raises LeaseLost; CancelRequested before an effect begins."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE jobs_job SET has_effects = true"
            " WHERE id = %s AND status = 'running' AND attempt = %s AND lease_id = %s RETURNING cancel_requested_at",
            [db_id(attempt.job_id), attempt.attempt, db_id(attempt.lease_id)],
        )
        row = cursor.fetchone()
    if row is None:
        raise LeaseLost(f"attempt {attempt.attempt} of job {attempt.job_id} lost its lease")
    if row[0] is not None:
        raise CancelRequested()


def _read(job_id: uuid.UUID, name: str) -> _Stored | None:
    from jobs.models import Effect as EffectRow

    row = EffectRow.objects.filter(job_id=job_id, name=name).only("status", "attempt", "result").first()
    return None if row is None else _Stored(row.status, row.attempt, row.result)


def _reserve(attempt: Attempt, terms: Terms, row: _Stored | None, *, is_transactional: bool = False) -> None:
    values: Sequence[Any] = [
        attempt.attempt, terms.on_doubt, terms.probe is not None, is_transactional, db_id(attempt.job_id), terms.name,
    ]  # fmt: skip
    with connection.cursor() as cursor:
        if row is None:
            cursor.execute(
                "INSERT INTO jobs_effect"
                " (attempt, on_doubt, has_probe, is_transactional, job_id, name, status, reserved_at)"
                f" VALUES (%s, %s, %s, %s, %s, %s, 'executing', {NOW})",
                values,
            )
        else:
            cursor.execute(
                "UPDATE jobs_effect SET attempt = %s, on_doubt = %s, has_probe = %s, is_transactional = %s,"
                f" status = 'executing', reserved_at = {NOW}, ended_at = NULL, result = NULL, error = NULL,"
                " settled_by = NULL, evidence = NULL WHERE job_id = %s AND name = %s",
                values,
            )
    _say(attempt, terms.name, "reserved")


def _record(
    attempt: Attempt,
    name: str,
    status: str,
    *,
    result: str | None = None,
    error: str | None = None,
    settled_by: str | None = None,
    reserved_by: int | None = None,
) -> None:
    """Write how an effect ended, under the fence. Raises LeaseLost: then housekeeping has judged it."""
    cast = "CAST(%s AS jsonb)" if is_postgresql() else "%s"
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE jobs_job SET has_effects = true"
            " WHERE id = %s AND status = 'running' AND attempt = %s AND lease_id = %s",
            [db_id(attempt.job_id), attempt.attempt, db_id(attempt.lease_id)],
        )
        if cursor.rowcount == 1:
            cursor.execute(
                f"UPDATE jobs_effect SET status = %s, result = {cast}, error = %s, settled_by = %s, ended_at = {NOW}"
                " WHERE job_id = %s AND name = %s AND attempt = %s",
                [status, result, error, settled_by, db_id(attempt.job_id), name, reserved_by or attempt.attempt],
            )
        if cursor.rowcount != 1:
            raise LeaseLost(f"attempt {attempt.attempt} of job {attempt.job_id} lost its lease during an effect")
        _say(attempt, name, f"taken as done, by {settled_by}" if settled_by else WORDS[status])


def _hold(attempt: Attempt, name: str) -> None:
    """Kept in doubt, for a person: its probe did not know."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE jobs_effect SET status = 'in_doubt', has_probe = false, on_doubt = 'hold',"
            f" ended_at = COALESCE(ended_at, {NOW}),"
            " error = COALESCE(error, 'the attempt ended while the effect was executing')"
            " WHERE job_id = %s AND name = %s",
            [db_id(attempt.job_id), name],
        )
    _say(attempt, name, "in doubt; a person has to settle it")


def _say(attempt: Attempt, name: str, what: str) -> None:
    """To the worker's log once it is committed; never a payload or a result."""
    transaction.on_commit(
        partial(log.info, "job %s attempt %d effect %s: %s", attempt.job_id, attempt.attempt, name, what)
    )


def _proves(error: BaseException | None, proofs: tuple[type[BaseException], ...]) -> bool:
    """Whether an error, or the one it was explicitly raised from, proves that nothing was accepted.

    `__context__` is not followed: an earlier, handled error says nothing about this one.
    """
    for _ in range(10):
        if error is None:
            return False
        if isinstance(error, proofs):
            return True
        reason = getattr(error, "reason", None)  # urllib's URLError
        error = reason if isinstance(reason, BaseException) else error.__cause__
    return False
