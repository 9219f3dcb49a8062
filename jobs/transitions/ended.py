"""What is said of an attempt that is over."""

from __future__ import annotations

import uuid
from typing import NamedTuple

from jobs.lifecycle import Budget, End
from jobs.rows import Row


class Ended(NamedTuple):
    """An attempt that is over, under the fence (attempt, lease) it was claimed with."""

    job_id: uuid.UUID
    attempt: int
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
