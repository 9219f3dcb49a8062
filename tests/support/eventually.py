"""Waiting for what other processes do, instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(check: Callable[[], T], timeout_s: float = 15, every_s: float = 0.02) -> T:
    """What `check` returns, as soon as it is true. An AssertionError or a false value means: not yet.

    The time is for a busy machine and costs nothing where things go well; a bound that is promised is
    measured by the test itself. Raises AssertionError, with the last one's words, when the time is over.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        failure: AssertionError | None = None
        try:
            if found := check():
                return found
        except AssertionError as error:
            failure = error
        if time.monotonic() > deadline:
            raise failure or AssertionError(f"not within {timeout_s} s: {getattr(check, '__name__', check)}")
        time.sleep(every_s)
