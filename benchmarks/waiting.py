"""Waiting for what a measured system does by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from benchmarks.services import NotMeasured

Seen = TypeVar("Seen")

POLL_S = 0.02
TIMEOUT_S = 60
SHOWN = 60


def until(look: Callable[[], Seen], is_it: Callable[[Seen], bool], what: str, timeout_s: float = TIMEOUT_S) -> Seen:
    """What was seen once it was so."""
    deadline = time.monotonic() + timeout_s
    while not is_it(seen := look()):
        if time.monotonic() > deadline:
            raise NotMeasured(f"waited {timeout_s:.0f} s for {what}, and saw {str(seen)[:SHOWN]}")
        time.sleep(POLL_S)
    return seen
