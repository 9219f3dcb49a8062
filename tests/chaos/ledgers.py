"""Writes the ledgers of a fault run: files outside of the database, one line for each thing that happened."""

from __future__ import annotations

import os
import time
from pathlib import Path

from jobs import JobContext
from jobs.conf import conf

BEAT_S = 0.1


def live(job: JobContext, seconds: float) -> None:
    """Beat into runs.log for so many seconds."""
    end = time.monotonic() + seconds
    while (left_s := end - time.monotonic()) > 0:
        time.sleep(min(BEAT_S, left_s))
        beat(job, "beat")


def beat(job: JobContext, what: str) -> None:
    append("runs.log", f"{job.id} {job.attempt} {os.getpid()} {what} {time.monotonic():.3f}")


def append(name: str, line: str) -> None:
    """Append in one write: lines of many processes do not mix. The page cache outlives every process."""
    with path(name).open("ab", buffering=0) as file:
        file.write(line.encode() + b"\n")


def path(name: str) -> Path:
    return Path(conf().data_dir / name)
