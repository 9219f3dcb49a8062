"""What is said of an attempt that is over."""

from __future__ import annotations

import uuid
from typing import NamedTuple

from jobs.lifecycle import Budget, End
from jobs.rows import Row

FENCE_COLUMNS = ("vid uuid", "vversion int", "vlease uuid")
"""Of a table of fences, each with its job."""


def is_of_claim(version: str) -> str:
    """SQL that tells whether a running row still belongs to the claim that gave it that version.

    Every transition raises the version. One of them leaves the job running: the request to cancel it, which comes once.
    So the next claim's version is higher by two at least.
    """
    return f"version - {version} IN (0, 1)"


class Ended(NamedTuple):
    """An attempt that is over, under its fence: the version that its claim gave to the row, and the lease."""

    job_id: uuid.UUID
    version: int
    lease_id: uuid.UUID
    end: End
    budget: Budget
    has_effects: bool = False
    delay_s: float = 0.0
    """Seconds until the next attempt, if there is one after a failure."""

    result: str | None = None
    """JSON text."""

    progress: str | None = None
    """JSON text; None keeps what is stored."""

    error_code: str | None = None
    error_message: str | None = None
    error_text: str | None = None
    claimed: Row | None = None
    """The row as it was claimed, where that is known: then what is stored of a success need not be read again."""
