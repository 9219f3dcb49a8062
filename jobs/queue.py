"""Redis: the connection, RQ's lists and hashes, and the one script that works on them.

Nothing here is the truth. Ids may be lost, doubled or stale; `reconcile.py` mends that from the
database. Only this module and the three loops import rq.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, cast

import redis

from jobs import failpoints, foreign, owner
from jobs.conf import conf
from jobs.database import after_commit
from jobs.foreign import LIST
from jobs.redis_client import OUTAGE, broker, is_reachable, patient_broker
from jobs.rows import Entry, Row, mirror_entry
from jobs.rq_classes import PERFORM, RqJob, RqQueue
from jobs.sql import id_text, py_id

__all__ = [
    "DIGEST",
    "HASH",
    "LIST",
    "OUTAGE",
    "PERFORM",
    "SCRIPT",
    "SUSPENDED",
    "RqJob",
    "RqQueue",
    "Turn",
    "as_id",
    "broker",
    "is_reachable",
    "patient_broker",
    "push",
    "pushing_aside",
    "run",
    "turn_for",
]  # fmt: skip

log = logging.getLogger("jobs.queue")

SCRIPT = files("jobs").joinpath("lua/turn.lua").read_text()
"""Read when the module is imported: a package without it must fail before anything is accepted."""
DIGEST = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()

HASH = "rq:job:"
SUSPENDED = "rq:suspended"
"""RQ's own switch (`rq suspend`), which stops every worker of this Redis."""

ID_LENGTH = 36
"""Bytes of an id in a list: hex digits in five groups."""


@dataclass(slots=True)
class Turn:
    """What one call of the script is to do; see lua/turn.lua for the order."""

    mirrors: Sequence[Entry] = ()
    """Made by `rows.mirror_entry`."""

    pushes: Sequence[tuple[uuid.UUID, str]] = ()
    starts: Sequence[uuid.UUID] = ()
    worker: str = ""
    """The RQ worker that started them."""
    returns: Sequence[tuple[uuid.UUID, str]] = ()
    pop: int = 0
    queues: Sequence[str] = field(default=())

    def arguments(self) -> list[Any]:
        arguments: list[Any] = [owner.mark(), conf().mirror_ttl_s, len(self.mirrors)]
        for entry in self.mirrors:
            arguments += entry
        arguments += (time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime()), len(self.pushes))
        for job_id, queue in self.pushes:
            arguments += (id_text(job_id), queue)
        arguments += (self.worker, len(self.starts))
        arguments += [id_text(job_id) for job_id in self.starts]
        arguments.append(len(self.returns))
        for job_id, queue in self.returns:
            arguments += (id_text(job_id), queue)
        return [*arguments, self.pop, *self.queues]


def run(turn: Turn, connection: redis.Redis | None = None) -> list[tuple[uuid.UUID, str]]:
    """One call: what was popped, as (id, queue). Raises one of OUTAGE when Redis does not answer, or not to us."""
    connection = connection or broker()
    popped, others = _call(turn, connection)
    while others:
        foreign.put_aside(others, connection)
        if popped:
            break
        popped, others = _call(Turn(pop=turn.pop, queues=turn.queues), connection)
    return popped


def _call(turn: Turn, connection: redis.Redis) -> tuple[list[tuple[uuid.UUID, str]], list[tuple[bytes, str]]]:
    """What was popped: ids, and entries that are not ids of ours."""
    arguments = turn.arguments()
    try:
        raw = connection.evalsha(DIGEST, 0, *arguments)
    except redis.exceptions.NoScriptError:
        raw = connection.eval(SCRIPT, 0, *arguments)
    owner.refuse(raw)
    entries = cast(list[bytes], raw)
    popped: list[tuple[uuid.UUID, str]] = []
    others: list[tuple[bytes, str]] = []
    for queue, text in zip(entries[::2], entries[1::2], strict=True):
        job_id = as_id(text)
        if job_id is not None:
            popped.append((job_id, queue.decode()))
        else:
            others.append((text, queue.decode()))
    return popped, others


def as_id(text: bytes) -> uuid.UUID | None:
    """None for what somebody else put into the list."""
    try:
        digits = text.decode().replace("-", "").lower()
        if len(text) == ID_LENGTH and len(digits) == 32 and len(bytes.fromhex(digits)) == 16:  # it skips blanks
            return py_id(digits)
    except ValueError:
        pass
    return None


_quiet_until = 0.0
_aside = threading.local()


def push(rows: Sequence[Row], documents: Sequence[bytes | None] = ()) -> None:
    """Tell Redis of rows that were just committed: push the queued ones, mirror all. Never raises.

    `documents` are those of the rows as JSON, where they were made already.

    After a failure nothing is tried for `breaker_s`, so that an outage does not slow accepting;
    housekeeping finds what was not pushed.
    """
    if rows:
        after_commit(_tell, rows, documents)


def _tell(rows: Sequence[Row], documents: Sequence[bytes | None]) -> None:
    pool: ThreadPoolExecutor | None = getattr(_aside, "pool", None)
    owner.refresh()
    if pool is None or (len(rows) == 1 and all(told.done() for told in _aside.told)):
        _push(rows, documents)
    else:
        wait(_aside.told)  # a slow Redis must not collect what it is to be told
        _aside.told = [pool.submit(_push, rows, documents)]


@contextlib.contextmanager
def pushing_aside() -> Iterator[None]:
    """What this thread pushes inside the block is told to Redis by another one: the next group need not wait for it, the
    one after it does. Left when all is told. A lone row it tells by itself: to wake another thread takes half as long."""
    _aside.told = []
    with ThreadPoolExecutor(1, "push") as _aside.pool:
        try:
            yield
        finally:
            _aside.pool = None


def _push(rows: Sequence[Row], documents: Sequence[bytes | None]) -> None:
    global _quiet_until
    if time.monotonic() < _quiet_until:
        return
    try:
        failpoints.hit("push.before")
        run(turn_for(rows, documents))
        failpoints.hit("push.after")
    except Exception as error:  # whatever a client of Redis raises: the rows are committed
        _quiet_until = time.monotonic() + conf().breaker_s
        if not isinstance(error, owner.Rival):
            log.warning(
                "Redis did not take %d jobs (%s); housekeeping will deliver them", len(rows), type(error).__name__
            )


def turn_for(rows: Sequence[Row], documents: Sequence[bytes | None] = (), *, entries: Sequence[Entry] = ()) -> Turn:
    """Mirror all rows, push those that are queued. `entries`: of the first rows, which are over, as they were made before."""
    rows = rows[len(entries) :]
    made = [
        mirror_entry(row, document_json=document)
        for row, document in zip(rows, documents or [None] * len(rows), strict=True)
    ]
    return Turn([*entries, *made], [(row.id, row.queue) for row in rows if row.status == "queued"])
