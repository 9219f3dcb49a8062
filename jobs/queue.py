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
from functools import lru_cache
from importlib.resources import files
from typing import Any, cast

import redis
from django.conf import settings
from django.core.signals import setting_changed
from django_redis import get_redis_connection
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import SentinelConnectionPool
from rq.exceptions import DeserializationError
from rq.job import Job as BaseRqJob
from rq.serializers import JSONSerializer

from jobs import failpoints, owner
from jobs.conf import conf
from jobs.rows import Entry, Row, mirror_entry
from jobs.sql import id_text, py_id

log = logging.getLogger("jobs.queue")

PERFORM = "jobs.worker.perform"
LIST = "rq:queue:"
HASH = "rq:job:"
SUSPENDED = "rq:suspended"
"""RQ's own switch (`rq suspend`), which stops every worker of this Redis."""

_CLEAN_UP = "if not redis.call('LPOS', ARGV[1], ARGV[2]) then redis.call('DEL', KEYS[1]) end"

ID_LENGTH = 36
"""Bytes of an id in a list: hex digits in five groups."""

OUTAGE = (redis.exceptions.RedisError, OSError)
"""What a call to Redis may raise when Redis is away, full, read-only or slow."""


@lru_cache(maxsize=1)
def broker() -> redis.Redis:
    """One client for all threads and tasks, as django-redis makes them: bytes, a short time budget, no retries. Its pool is
    its own: RQ's tools set the timeout of the one that they are given to minutes."""
    return _connect(socket_timeout=settings.CACHES["default"].get("OPTIONS", {}).get("SOCKET_TIMEOUT"))


def _forget(*, setting: str, **_: Any) -> None:
    if setting == "CACHES":
        broker.cache_clear()


setting_changed.connect(_forget, dispatch_uid="jobs.queue")


def patient_broker(timeout_s: float) -> redis.Redis:
    """For loops that block or may wait: a client with its own pool and socket timeout."""
    return _connect(socket_timeout=timeout_s, socket_connect_timeout=min(timeout_s, 5), retry=Retry(NoBackoff(), 0))


def _connect(**instead: Any) -> redis.Redis:
    pool = get_redis_connection("default").connection_pool
    kwargs = {**pool.connection_kwargs, "max_connections": pool.max_connections, **instead}
    if isinstance(pool, SentinelConnectionPool):
        kwargs.update(connection_class=pool.connection_class)
        kwargs.pop("connection_pool", None)
        made = SentinelConnectionPool(pool.service_name, pool.sentinel_manager, **kwargs)  # type: ignore[no-untyped-call]
        return redis.Redis(connection_pool=made)
    return redis.Redis(connection_pool=redis.ConnectionPool(connection_class=pool.connection_class, **kwargs))


def is_reachable() -> bool:
    try:
        return bool(broker().ping())
    except OUTAGE:
        return False


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


@lru_cache(maxsize=1)
def script() -> tuple[str, str]:
    text = files("jobs").joinpath("lua/turn.lua").read_text()
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def run(turn: Turn, connection: redis.Redis | None = None) -> list[tuple[uuid.UUID, str]]:
    """One call: what was popped, as (id, queue). Raises one of OUTAGE when Redis does not answer, or not to us."""
    connection = connection or broker()
    text, digest = script()
    arguments = turn.arguments()
    try:
        raw = connection.evalsha(digest, 0, *arguments)
    except redis.exceptions.NoScriptError:
        raw = connection.eval(text, 0, *arguments)
    owner.refuse(raw)
    popped = cast(list[bytes], raw)
    return [
        (job_id, queue.decode())
        for queue, text_id in zip(popped[::2], popped[1::2], strict=True)
        if (job_id := as_id(text_id)) is not None
    ]


def as_id(text: bytes) -> uuid.UUID | None:
    """None for what somebody else put into the list."""
    try:
        digits = text.decode().replace("-", "").lower()
        if len(text) == ID_LENGTH and len(digits) == 32 and len(bytes.fromhex(digits)) == 16:  # it skips blanks
            return py_id(digits)
        raise ValueError
    except ValueError:
        log.warning("dropped an entry of a queue that is no job id")
        return None


_quiet_until = 0.0
_aside = threading.local()


def push(rows: Sequence[Row], documents: Sequence[bytes | None] = ()) -> None:
    """Tell Redis of rows that were just committed: push the queued ones, mirror all. Never raises.

    `documents` are those of the rows as JSON, where they were made already.

    After a failure nothing is tried for `breaker_s`, so that an outage does not slow accepting;
    housekeeping finds what was not pushed.
    """
    pool: ThreadPoolExecutor | None = getattr(_aside, "pool", None)
    if not rows:
        return
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
    except OUTAGE as error:
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


class RqJob(BaseRqJob):
    """RQ's view of a job: JSON, one function, one UUID. Refuses to run anything else.

    Write access to Redis must not be code execution, and a stock RQ worker must leave our records
    alone: no result is stored and no hash deleted that may have been pushed again meanwhile.
    """

    def __init__(self, id: str | None = None, connection: redis.Redis | None = None, serializer: Any = None) -> None:
        super().__init__(id, connection, JSONSerializer)

    def _deserialize_data(self) -> None:
        super()._deserialize_data()  # type: ignore[no-untyped-call]
        try:
            (argument,) = self._args  # type: ignore[misc]
            uuid.UUID(argument)
            is_ours = self._func_name == PERFORM and self._instance is None and not self._kwargs
        except (TypeError, ValueError, AttributeError) as error:
            raise DeserializationError("this queue holds jobs of the job system only") from error
        if not is_ours:
            raise DeserializationError("this queue holds jobs of the job system only")

    def get_result_ttl(self, default_ttl: int) -> int:
        return 0

    def cleanup(self, ttl: int | None = None, pipeline: Any = None, remove_from_queue: bool = True) -> None:
        """Delete what RQ wrote into the hash after the transition that ended the attempt had deleted it.

        Not while the id stands in the list: then the job was pushed again meanwhile. RQ's pipeline answers
        with itself, so this is a command among its others.
        """
        (self.connection if pipeline is None else pipeline).eval(_CLEAN_UP, 1, self.key, LIST + self.origin, self.id)
