"""How log lines look: a time in UTC, the level, who says it, and what."""

from __future__ import annotations

import logging
import time
from functools import lru_cache


class Line(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)sZ %(levelname)-7s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return f"{_second(int(record.created))}.{int(record.msecs):03d}"


@lru_cache(maxsize=2)
def _second(second: int) -> str:
    """A busy process says thousands of lines in it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
