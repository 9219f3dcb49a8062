"""What came of an attempt that a thread ran, and what the log says of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from jobs.context import Line
from jobs.documents import isotime
from jobs.lifecycle import Status
from jobs.lines import say_each
from jobs.models.clock import parse
from jobs.rows import Row
from jobs.sql import id_text
from jobs.transitions import Ended

log = logging.getLogger("jobs.commit")
run_log = logging.getLogger("jobs.run")


class Outcome(NamedTuple):
    """An attempt that ended, and what is to be stored of it."""

    ended: Ended
    row: Row
    """As it was claimed."""

    run_s: float
    said: str
    """How it ended, for the log."""

    lines: Sequence[Line] = ()
    characters: int = 0
    """Of its payload and result."""

    @classmethod
    def of(cls, ended: Ended, row: Row, run_s: float = 0.0, lines: Sequence[Line] = (), payload: str = "") -> Outcome:
        """Made by the thread that ran it, which has all of it at hand."""
        why = f" ({ended.error_code})" if ended.error_code else ""
        said = f"job {id_text(row.id)} {row.type} attempt {row.attempt} " + ended.end + f" after {run_s:.3f} s{why}"
        return cls(ended, row, run_s, said, lines, len(payload) + len(ended.result or ""))


def say(outcomes: Sequence[Outcome], others: Sequence[Row]) -> None:
    """How attempts ended, and what follows for the jobs that did not plainly succeed."""
    say_each(run_log, logging.INFO, [outcome.said for outcome in outcomes])
    for row in others:
        if row.status == Status.SUCCEEDED or not row.attempt:  # attempt 0: a callback that was just created
            continue
        is_bad = row.status in (Status.FAILED, Status.IN_DOUBT)
        follows = f" until {isotime(parse(row.run_after))}" if row.status == Status.SCHEDULED else ""
        log.log(
            logging.WARNING if is_bad else logging.INFO,
            "job %s %s is %s%s, after %d of %d failures and %d of %d crashes", row.id, row.type, row.status, follows,
            row.failures, row.failures_allowed, row.crashes, row.crashes_allowed,
        )  # fmt: skip
