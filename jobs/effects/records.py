"""The rows of effects: SQL inside the caller's transaction, under the fence of an attempt."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from django.db import DatabaseError, InterfaceError, connections

from jobs import failpoints
from jobs.conf import conf
from jobs.database import alias, atomic, connection, on_commit, open_transaction
from jobs.effects.terms import Attempt, Terms
from jobs.errors import CancelRequested, LeaseLost
from jobs.interrupts import Slot
from jobs.models import Effect
from jobs.models.clock import NOW
from jobs.sql import db_id, is_lock, is_outage, is_postgresql
from jobs.transitions import is_of_claim

log = logging.getLogger("jobs.effects")

ENDS = {"done": "executed", "not_done": "not done", "in_doubt": "in doubt"}
"""How the worker's log calls what became of an effect."""

PATIENCE_S, PAUSE_S = 8.0, 0.2
"""How long, and after what pauses, a commit is tried again; later the lease is lost anyhow."""

_FENCE = f"id = %s AND status = 'running' AND {is_of_claim('%s')} AND lease_id = %s"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stored:
    status: str
    attempt: int
    result: Any


def patiently(commit: Callable[[], T], slot: Slot) -> T:
    """What it returns. Where it is the whole transaction an outage of the database is waited out for a while:
    so it must be right to do it twice, since a commit may have happened though its answer was lost.

    Where somebody else has locked the row this waits as long as the attempt may take, and on for half of the time until
    its process would be killed, and with it the attempts beside it: the lease is renewed meanwhile."""
    give_up = time.monotonic() + PATIENCE_S
    ends_at = None
    while True:
        try:
            return commit()
        except (DatabaseError, InterfaceError) as error:
            is_whole = not (connection.in_atomic_block or open_transaction(connections[alias()]))
            if not (is_whole and is_outage(error)):
                raise
            if is_lock(error):
                if ends_at is None and (slot.fired or slot.will_raise):
                    ends_at = time.monotonic() + conf().hard_timeout_extra_s / 2
                if ends_at is not None and time.monotonic() > ends_at:
                    raise
            else:
                if time.monotonic() > give_up:
                    raise
                connection.close()
            time.sleep(PAUSE_S)


def _fence(attempt: Attempt) -> list[Any]:
    return [db_id(attempt.job_id), attempt.version, db_id(attempt.lease_id)]


def lock(attempt: Attempt) -> None:
    """Lock the job row under the fence. Raises LeaseLost; CancelRequested before an effect begins."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE jobs_job SET has_effects = true WHERE {_FENCE} RETURNING cancel_requested_at",
            _fence(attempt),
        )
        row = cursor.fetchone()
    if row is None:
        raise LeaseLost(f"attempt {attempt.attempt} of job {attempt.job_id} lost its lease")
    if row[0] is not None:
        raise CancelRequested()


def read(job_id: uuid.UUID, name: str) -> Stored | None:
    row = Effect.objects.filter(job_id=job_id, name=name).only("status", "attempt", "result").first()
    return None if row is None else Stored(row.status, row.attempt, row.result)


def reserve(attempt: Attempt, terms: Terms, row: Stored | None, *, is_transactional: bool = False) -> None:
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
    say(attempt, terms.name, "reserved")


def record(
    attempt: Attempt,
    slot: Slot,
    name: str,
    status: str,
    *,
    result: str | None = None,
    error: str | None = None,
    settled_by: str | None = None,
    reserved_by: int | None = None,
) -> None:
    """Write how an effect ended, under the fence. Raises LeaseLost: then housekeeping has judged it.

    An outage of the database is waited out: writing twice changes nothing under the fence, and giving up would
    leave in doubt what is known.
    """
    written = partial(_write, attempt, name, status, result, error, settled_by, reserved_by or attempt.attempt)
    patiently(written, slot)


def _write(
    attempt: Attempt,
    name: str,
    status: str,
    result: str | None,
    error: str | None,
    settled_by: str | None,
    reserved_by: int,
) -> None:
    cast = "CAST(%s AS jsonb)" if is_postgresql() else "%s"
    with atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE jobs_job SET has_effects = true WHERE {_FENCE}",
            _fence(attempt),
        )
        if cursor.rowcount == 1:
            cursor.execute(
                f"UPDATE jobs_effect SET status = %s, result = {cast}, error = %s, settled_by = %s, ended_at = {NOW}"
                " WHERE job_id = %s AND name = %s AND attempt = %s",
                [status, result, error, settled_by, db_id(attempt.job_id), name, reserved_by],
            )
        if cursor.rowcount != 1:
            raise LeaseLost(f"attempt {attempt.attempt} of job {attempt.job_id} lost its lease during an effect")
        say(attempt, name, f"taken as done, by {settled_by}" if settled_by else ENDS[status])
        if status == "done":
            failpoints.hit("effect.before_done")
    if status == "done":
        failpoints.hit("effect.after_done")


def hold(attempt: Attempt, name: str) -> None:
    """Keep it in doubt, for a person: its probe, if there is one, was asked and did not know."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE jobs_effect SET status = 'in_doubt', has_probe = false, on_doubt = 'hold',"
            f" ended_at = COALESCE(ended_at, {NOW}),"
            " error = COALESCE(error, 'the attempt ended while the effect was executing')"
            " WHERE job_id = %s AND name = %s",
            [db_id(attempt.job_id), name],
        )
    say(attempt, name, "in doubt; a person has to settle it")


def say(attempt: Attempt, name: str, what: str) -> None:
    """To the worker's log, once the caller's transaction is committed; never a payload or a result."""
    on_commit(log.info, "job %s attempt %d effect %s: %s", attempt.job_id, attempt.attempt, name, what)
