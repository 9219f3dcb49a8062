"""The fetcher: waits for ids when the horse has free threads, so that the horse never blocks on Redis."""

from __future__ import annotations

import logging
import queue as queues
import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any, cast

import redis

from jobs import failpoints, foreign, owner, queue

log = logging.getLogger("jobs.fetcher")

WAIT_S = 1
"""Seconds one blocking pop waits; bounds how long a paused queue is still served."""

ANSWER_S = WAIT_S + 4
"""Seconds after which a Redis that does not answer a blocking pop counts as away."""

SUSPENDED = "rq:suspended"
"""Set by `rq suspend`."""

BACKOFF_S = (0.1, 2.0)
"""Shortest and longest wait between two tries while Redis is away, in seconds."""


class Fetcher:
    """Pops one id each time it is sent for one, and puts `[(id, queue)]` into the inbox.

    Puts "empty" when a burst found nothing, and "down" while Redis is away: then the horse looks into
    the database instead. "idle" says that a whole wait brought nothing: then it looks there for jobs that
    should have come long ago, because a Redis that is full or read-only still answers.
    """

    def __init__(self, inbox: queues.SimpleQueue[Any], *, is_burst: bool) -> None:
        self._inbox = inbox
        self._is_burst = is_burst
        self._sent = threading.Event()
        self._is_closing = False
        self._closed = threading.Event()
        self.is_out = False
        """Whether it may hold an id that the horse has not read yet, who says so: what the horse pops would overtake it."""

        self._names: tuple[str, ...] = ()
        self._paused: frozenset[str] = frozenset()

    @property
    def open_queues(self) -> tuple[str, ...]:
        """The queues that are not paused, most urgent first."""
        return tuple(name for name in self._names if name not in self._paused)

    def start(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        threading.Thread(target=self._loop, name="fetcher", daemon=True).start()

    def fetch(self) -> None:
        """Bring an id, however long that takes, unless one is on its way."""
        if not self.is_out and not self._sent.is_set():
            self.is_out = True
            self._sent.set()

    def close(self) -> None:
        """Bring nothing more than what is on its way."""
        self._is_closing = True
        self._sent.set()

    def wait_closed(self) -> None:
        """Wait until the last id that it popped is in the inbox, but not for a Redis that does not answer."""
        self.close()
        self._closed.wait(ANSWER_S)

    def pause(self, names: Sequence[str]) -> None:
        self._paused = frozenset(names)

    def _loop(self) -> None:
        connection = queue.patient_broker(ANSWER_S)
        backoff_s = BACKOFF_S[0]
        while True:
            if not self._is_closing:
                self._sent.wait()
            if self._is_closing:
                self._closed.set()
                return
            names = self.open_queues
            if not names:
                self._nothing()
                time.sleep(WAIT_S)
                continue
            keys = [queue.LIST + name for name in names]
            self.is_out = True
            try:
                suspended, mark = cast("list[bytes | None]", connection.mget(SUSPENDED, owner.MARK))
                owner.check(mark)
                is_suspended = suspended is not None
                if is_suspended:
                    time.sleep(WAIT_S)
                    popped = []
                elif self._is_burst:
                    popped = queue.run(queue.Turn(pop=1, queues=names), connection)
                else:
                    popped = _decode(cast("tuple[bytes, bytes] | None", connection.blpop(keys, WAIT_S)), connection)
                if popped:
                    failpoints.hit("claim.after_pop")
                backoff_s = BACKOFF_S[0]
            except Exception as error:  # whatever it is, the horse must not go deaf
                if not isinstance(error, queue.OUTAGE):
                    log.exception("fetching failed; the next try follows")
                if backoff_s == BACKOFF_S[0]:
                    log.warning("Redis is away (%s); the database is polled meanwhile", type(error).__name__)
                self.is_out = False
                self._inbox.put("down")
                time.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, BACKOFF_S[1])
                continue
            if popped:
                self._sent.clear()
                self._inbox.put(popped)
            elif self._is_burst or is_suspended:
                self._nothing()
            else:
                self._inbox.put("idle")

    def _nothing(self) -> None:
        if self._is_burst:
            self._inbox.put("empty")
            time.sleep(0.05)


def _decode(reply: tuple[bytes, bytes] | None, connection: redis.Redis) -> list[tuple[uuid.UUID, str]]:
    if reply is None:
        return []
    job_id, name = queue.as_id(reply[1]), reply[0].decode().removeprefix(queue.LIST)
    if job_id is None:
        foreign.put_aside([(reply[1], name)], connection)
        return []
    return [(job_id, name)]
