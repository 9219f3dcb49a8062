"""Effects that are entered where their reservation would not be committed: each is refused before anything goes out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from django.db import connection, transaction
from pydantic import BaseModel, ConfigDict

from jobs import Backoff, JobContext, handler
from tests.chaos.ledgers import append, beat

REFUSED = "refused.log"
"""The ledger of effects that must not happen."""

SOON = Backoff(base_s=0.2, cap_s=1)
TABLE = "chaos_ledger"


class Refused(BaseModel):
    model_config = ConfigDict(extra="forbid")

    way: str


def _charge(job: JobContext, name: str = "act") -> None:
    with job.effect(name) as effect:
        if effect.pending:
            append(REFUSED, f"{job.id} {job.attempt} {effect.key} {time.monotonic():.3f}")


def _atomic(job: JobContext) -> None:
    with transaction.atomic():
        _charge(job)


def _nested(job: JobContext) -> None:
    with transaction.atomic(), transaction.atomic(savepoint=False):
        _charge(job)


def _transactional(job: JobContext) -> None:
    with job.effect("close", transactional=True) as close:
        if close.pending:
            _charge(job)


def _autocommit_off(job: JobContext) -> None:
    transaction.set_autocommit(False)
    _charge(job)


def _begin(job: JobContext) -> None:
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
    _charge(job)


def _savepoint(job: JobContext) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SAVEPOINT mine" if connection.vendor == "sqlite" else "BEGIN")
    _charge(job)


def _thread(job: JobContext) -> None:
    """Another thread of the handler, inside its own transaction."""
    errors: list[BaseException] = []

    def charge() -> None:
        try:
            _atomic(job)
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=charge)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


def _probed(job: JobContext) -> None:
    """A probe is not asked either: its answer would rest on a reservation that may vanish."""

    def probe(key: str) -> object:
        append(REFUSED, f"{job.id} {job.attempt} {key} {time.monotonic():.3f}")
        raise AssertionError

    with transaction.atomic(), job.effect("probed", probe=probe) as effect:  # type: ignore[arg-type]
        if effect.pending:
            append(REFUSED, f"{job.id} {job.attempt} {effect.key} {time.monotonic():.3f}")


WAYS: dict[str, Callable[[JobContext], None]] = {
    "atomic": _atomic,
    "nested": _nested,
    "transactional": _transactional,
    "autocommit off": _autocommit_off,
    "begin": _begin,
    "savepoint": _savepoint,
    "thread": _thread,
    "probed": _probed,
}


@handler("chaos-refused", payload=Refused, backoff=SOON, max_attempts=2)
def refused(job: JobContext, payload: Refused) -> dict[str, int]:
    """Enter an effect inside an open transaction."""
    beat(job, "begin")
    WAYS[payload.way](job)
    beat(job, "end")
    return {"attempt": job.attempt}


@handler("chaos-rolled-back", backoff=SOON, max_attempts=2)
def rolled_back(job: JobContext, payload: dict[str, object]) -> dict[str, int]:
    """Roll back inside a transactional effect, quietly."""
    beat(job, "begin")
    with job.effect("act", transactional=True) as effect:
        if effect.pending:
            with connection.cursor() as cursor:
                cursor.execute(f"INSERT INTO {TABLE} (job_id, attempt) VALUES (%s, %s)", [str(job.id), job.attempt])
            transaction.set_rollback(True)
    beat(job, "end")
    return {"attempt": job.attempt}


@handler("chaos-flip", backoff=SOON, max_attempts=6)
def flip(job: JobContext, payload: dict[str, object]) -> dict[str, int]:
    """Leave an effect as not done, do it in the next attempt, and fail after: a stale read would do it again."""
    beat(job, "begin")
    with job.effect("act") as effect:
        if effect.pending:
            if job.failures == 0:
                effect.not_done()
                raise ConnectionRefusedError("nothing went out")
            append("effects.log", f"{job.id} act {job.attempt} {time.monotonic():.3f} {effect.key}")
    if job.failures == 1:
        raise ValueError("after the effect")
    beat(job, "end")
    return {"attempt": job.attempt}
