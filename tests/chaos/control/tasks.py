"""The jobs of the control run: what `chaos` of the fault run does, written into the same ledgers, by plain functions."""

from __future__ import annotations

import os
import time
from pathlib import Path

from rq import get_current_job
from rq.job import Job

BEAT_S = 0.1

RETRIES = 3
"""Of jobs that are known to fail. RQ's own default is none."""


class Asked(Exception):
    """The payload asked for this failure."""


def chaos(
    seconds: float = 0.0, effect: str = "", effect_seconds: float = 0.0, fail_times: int = 0, number: int = 0
) -> dict[str, int]:
    """Beat into runs.log while it lives, have an effect, fail when asked to."""
    job = _job()
    failures = _failures(job)
    _beat(job, "begin")
    _live(job, seconds)
    if effect:
        _append("effects.log", f"{job.id} act {failures + 1} {time.monotonic():.3f} {job.id}")
        _live(job, effect_seconds)
    if failures < fail_times:
        raise Asked()
    _beat(job, "end")
    return {"attempt": failures + 1, "number": number}


def slot(name: str) -> None:
    """rq-scheduler tells no job its slot: the line has the moment at which the job was put into its queue."""
    queued_at = _job().enqueued_at
    assert queued_at is not None
    _append("slots.log", f"{name} {queued_at.timestamp():.3f} {os.getpid()}")


def _failures(job: Job) -> int:
    """RQ counts down, and only where there is a `Retry`."""
    return 0 if job.retries_left is None else RETRIES - job.retries_left


def _job() -> Job:
    job = get_current_job()
    assert job is not None
    return job


def _live(job: Job, seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left_s := end - time.monotonic()) > 0:
        time.sleep(min(BEAT_S, left_s))
        _beat(job, "beat")


def _beat(job: Job, what: str) -> None:
    _append("runs.log", f"{job.id} {_failures(job) + 1} {os.getpid()} {what} {time.monotonic():.3f}")


def _append(name: str, line: str) -> None:
    """One write: lines of many processes do not mix. The page cache outlives every process."""
    with Path(os.environ["JOBS_DATA_DIR"], name).open("ab", buffering=0) as file:
        file.write(line.encode() + b"\n")
