"""How a view answers without waiting in a thread.

A view may return `Awaited`: a response that is due when a future is done. In a thread (WSGI, tests,
Django's own handler) the view waits for it itself; on the event loop (`lane.py`) the lane does, and then
lets the view finish. A view that finds it would have to do I/O on the event loop raises NeedsThread,
before it has changed anything.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from django.http import HttpRequest
from rest_framework.response import Response

from jobs.errors import DatabaseUnavailable

WAIT_S = 30.0
"""Longest wait for a commit. The database's own time limits end far earlier."""


class NeedsThread(Exception):
    """This request cannot be answered on the event loop."""


class Awaited(Response):
    """`answer(result)` makes the response of the future's result; what the future raises is a problem."""

    def __init__(self, future: Future[Any], answer: Callable[[Any], Response]) -> None:
        super().__init__()
        self.future = future
        self.answer = answer
        self.finish: Callable[[], Response]
        """Set by the view: the final response, once the future is done or given up."""


def result_of(future: Future[Any], timeout_s: float = 0) -> Any:
    """What the future holds, or raises. Raises DatabaseUnavailable when it is not done in time."""
    try:
        return future.result(timeout_s)
    except FutureTimeout:
        raise DatabaseUnavailable("The database did not answer in time. Ask again, under the same key.") from None


def put_in_lane(request: HttpRequest) -> None:
    request.is_in_lane = True  # type: ignore[attr-defined]


def is_in_lane(request: HttpRequest) -> bool:
    return getattr(request, "is_in_lane", False)
