"""What came of an attempt that a thread ran, what the log says of it, and the lines that its handler logged."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

from jobs.context import Line
from jobs.documents import isotime
from jobs.lifecycle import End, Status
from jobs.lines import say_each
from jobs.models import LogLine
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
        after = "" if ended.end is End.UNBEGUN else f" after {run_s:.3f} s{why}"
        said = f"job {id_text(row.id)} {row.type} attempt {row.attempt} " + ended.end + after
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


def insert_lines(lines: Sequence[tuple[Row, Sequence[Line]]], *, is_repeat: bool = False) -> None:
    """Insert the lines of attempts that the caller knows to have their lease. Where it `is_repeat`, only those that are
    not there already."""
    said = [
        LogLine(job_id=row.id, attempt=row.attempt, at=line.at, level=line.level, message=line.message)
        for row, some in lines
        for line in some
    ]
    if said and is_repeat:
        ids = {line.job_id for line in said}
        names = ("job_id", "attempt", "at", "level", "message")
        stored = set(LogLine.objects.filter(job_id__in=ids).values_list(*names))
        said = [line for line in said if attrgetter(*names)(line) not in stored]
    if said:
        LogLine.objects.bulk_create(said)
