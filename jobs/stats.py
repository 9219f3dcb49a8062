"""Statistics: minute rows, added up in the transaction of the outcomes, so that they survive and agree."""

from __future__ import annotations

import bisect
import datetime as dt
from collections import Counter
from collections.abc import Sequence
from typing import Any

from jobs.lifecycle import Status
from jobs.models.clock import parse
from jobs.models.stat import BUCKETS_MS
from jobs.rows import Row
from jobs.sql import as_table, db_time, run, table

OUTCOMES: dict[str, str] = {
    Status.SUCCEEDED: "succeed",
    Status.FAILED: "fail",
    Status.CANCELLED: "abort",
    Status.SCHEDULED: "retry",
    Status.QUEUED: "release",
    Status.IN_DOUBT: "doubt",
}
"""The event that ended an attempt, by the status it left; `expire` also leaves queued and is told by its crash."""

_BUCKETS = len(BUCKETS_MS) + 1
_SUMS = ("count", "wait_ms", "run_ms", *(f"wait_{i}" for i in range(_BUCKETS)), *(f"run_{i}" for i in range(_BUCKETS)))
_KEY = ("minute", "queue", "type", "outcome", "worker")
_COLUMNS = ("minute timestamptz", *(f"{name} text" for name in _KEY[1:]), *(f"{name} bigint" for name in _SUMS))


Sums = dict[tuple[Any, ...], list[int]]
"""By the columns of `_KEY`: what is to be added to `_SUMS`."""


def add(ended: Sequence[tuple[Row, Row, float]], worker: str) -> None:
    """Add attempts that ended: (row as claimed, row as it is now, seconds of running)."""
    store(summed(ended, worker))


def summed(ended: Sequence[tuple[Row, Row, float]], worker: str) -> Sums:
    """What `add` adds."""
    alike = Counter(
        (
            before.queue, before.type, after.finished_at, after.status, after.crashes > before.crashes,
            before.queued_at, before.started_at, int(run_s * 1000),
        )
        for before, after, run_s in ended
    )  # fmt: skip
    sums: Sums = {}
    for (queue, kind, finished_at, status, is_crash, queued_at, started_at, run_ms), count in alike.items():
        outcome = "expire" if is_crash and status == "queued" else OUTCOMES[status]
        minute = (parse(finished_at) or _ended_at(started_at, run_ms)).replace(second=0, microsecond=0)
        wait_ms = _wait_ms(queued_at, started_at)
        line = sums.setdefault((minute, queue, kind, outcome, worker), [0] * len(_SUMS))
        line[0] += count
        line[1] += count * wait_ms
        line[2] += count * run_ms
        line[3 + bisect.bisect_left(BUCKETS_MS, wait_ms)] += count
        line[3 + _BUCKETS + bisect.bisect_left(BUCKETS_MS, run_ms)] += count
    return sums


def merge(into: Sums, more: Sums) -> None:
    for key, line in more.items():
        into[key] = [a + b for a, b in zip(into[key], line, strict=True)] if key in into else line


def store(sums: Sums) -> None:
    if not sums:
        return
    lines = [(db_time(minute), *rest, *line) for (minute, *rest), line in sorted(sums.items())]
    run(  # sorted: one order for all horses, so no deadlock
        f"INSERT INTO jobs_minutestat ({', '.join((*_KEY, *_SUMS))})"
        f" SELECT * FROM ({table(*_COLUMNS)}) AS v WHERE true"
        f" ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET "
        + ", ".join(f"{name} = jobs_minutestat.{name} + excluded.{name}" for name in _SUMS),
        [as_table(lines)],
    )


def _ended_at(started_at: str | None, run_ms: int) -> dt.datetime:
    """By the database's clock, as all else that is stored, for an attempt that did not finish its job."""
    started = parse(started_at)
    return dt.datetime.now(dt.UTC) if started is None else started + dt.timedelta(milliseconds=run_ms)


def _wait_ms(queued_at: str | None, started_at: str | None) -> int:
    """From due to start."""
    started, due = parse(started_at), parse(queued_at)
    return 0 if started is None or due is None else max(0, int((started - due).total_seconds() * 1000))
