"""How requests wait on the event loop: for a commit, and for a look into the mirror that they share."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from concurrent.futures import Future
from typing import Any

from jobs import mirror
from jobs.api.waiting import WAIT_S

SWEEP_S = 1.0
"""How exact WAIT_S is: a timer for each request would cost more than the rest of its wait."""


class Waiters:
    """Requests whose rows are being committed. A group's futures are settled one after another by another thread:
    the loop is woken once for all of them."""

    def __init__(self) -> None:
        self._begin(None)

    def _begin(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """A ring or a sweep of a loop that has ended is not answered any more."""
        self._loop = loop
        self._over: deque[asyncio.Future[None]] = deque()
        self._is_rung = False
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()

    async def done(self, future: Future[Any]) -> None:
        """Wait until the future is done, or for WAIT_S: then the view tells the client. Does not cancel it: its rows
        may be committed already."""
        if future.done():
            return
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._begin(loop)
        waiter = loop.create_future()
        if not self._waiting:
            loop.call_later(SWEEP_S, self._sweep, loop)
        self._waiting.append((time.monotonic() + WAIT_S, waiter))
        future.add_done_callback(lambda _: self._ring(loop, waiter))
        await waiter

    def _ring(self, loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[None]) -> None:
        self._over.append(waiter)
        if not self._is_rung:
            self._is_rung = True
            loop.call_soon_threadsafe(self._let_all_go)

    def _let_all_go(self) -> None:
        self._is_rung = False  # before the look that follows: who comes after it rings
        while self._over:
            _let_go(self._over.popleft())

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let those go that have waited for too long; they stand in the order of their deadlines."""
        now = time.monotonic()
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= now):
            _let_go(self._waiting.popleft()[1])
        if self._waiting:
            loop.call_later(SWEEP_S, self._sweep, loop)


def _let_go(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class Looks:
    """Polls that arrive in one turn of the loop share one look into the mirror."""

    def __init__(self) -> None:
        self._wanted: list[tuple[uuid.UUID, asyncio.Future[mirror.Entry | None]]] = []

    def at(self, job_id: uuid.UUID) -> asyncio.Future[mirror.Entry | None]:
        """The mirror's entry; None when there is none, or Redis is away."""
        loop = asyncio.get_running_loop()
        if not self._wanted:
            loop.call_soon(self._look)
        found = loop.create_future()
        self._wanted.append((job_id, found))
        return found

    def _look(self) -> None:
        wanted, self._wanted = self._wanted, []
        entries = mirror.peek_all([job_id for job_id, _ in wanted])
        for (_, found), entry in zip(wanted, entries, strict=True):
            if not found.done():
                found.set_result(entry)
