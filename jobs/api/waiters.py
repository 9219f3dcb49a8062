"""How requests wait on the event loop: for a commit, and for a look into the mirror that they share."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from jobs import mirror, submission
from jobs.api.waiting import WAIT_S, result_of
from jobs.envelope import JobRequest
from jobs.submission import Outcome


async def done(future: Future[Any]) -> None:
    """Wait until the future is done, or for WAIT_S: then the view tells the client. Does not cancel it: its rows may be
    committed already."""
    if not future.done():
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        timer = loop.call_later(WAIT_S, _settle, waiter, None)
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(_settle, waiter, None))
        try:
            await waiter
        finally:
            timer.cancel()


def _settle(waiter: asyncio.Future[Any], result: Any) -> None:
    if not waiter.done():
        waiter.set_result(result)


class Commits:
    """Creates that arrive in one turn of the loop go into their group together, and wake the loop together."""

    def __init__(self) -> None:
        self._turn: list[tuple[JobRequest, asyncio.Future[list[Outcome] | Exception]]] = []

    def of(self, request: JobRequest) -> asyncio.Future[list[Outcome] | Exception]:
        """Done when its group is committed, or after WAIT_S. To cancel it stops no commit."""
        loop = asyncio.get_running_loop()
        if not self._turn:
            loop.call_soon(self._hand_over, loop)
        waiter = loop.create_future()
        self._turn.append((request, waiter))
        return waiter

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        turn, self._turn = self._turn, []
        waiters = [waiter for _, waiter in turn]
        future = submission.offer_each([request for request, _ in turn])
        timer = loop.call_later(WAIT_S, _settle_all, future, waiters)
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(_settle_all, future, waiters, timer))


def _settle_all(
    future: Future[Sequence[list[Outcome] | Exception]],
    waiters: Sequence[asyncio.Future[list[Outcome] | Exception]],
    timer: asyncio.TimerHandle | None = None,
) -> None:
    if timer is not None:
        timer.cancel()
    try:
        results = result_of(future)
    except Exception as error:
        results = [error] * len(waiters)
    for waiter, result in zip(waiters, results, strict=True):
        _settle(waiter, result)


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
