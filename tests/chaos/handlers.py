"""The job of a fault run: it tells a file outside of the database when it lives and what it did."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Literal

from django.db import connection
from pydantic import BaseModel, ConfigDict

from jobs import Backoff, JobContext, handler
from jobs.conf import conf

BEAT_S = 0.1

TABLE = "chaos_ledger"
"""The rows that transactional effects write; made by the harness."""


class Chaos(BaseModel):
    model_config = ConfigDict(extra="forbid")

    seconds: float = 0.0
    effect: Literal["", "hold", "skip", "repeat", "transactional"] = ""
    effect_seconds: float = 0.0
    fail_times: int = 0
    number: int = 0


class Asked(Exception):
    """The payload asked for this failure."""


@handler("chaos", payload=Chaos, backoff=Backoff(base_s=0.2, cap_s=1))
def chaos(job: JobContext, payload: Chaos) -> dict[str, int]:
    """Beat into runs.log while it lives, have an effect, fail when asked to."""
    _beat(job, "begin")
    _live(job, payload.seconds)
    if payload.effect == "transactional":
        with job.effect("act", transactional=True) as effect:
            if effect.pending:
                with connection.cursor() as cursor:
                    cursor.execute(f"INSERT INTO {TABLE} (job_id, attempt) VALUES (%s, %s)", [str(job.id), job.attempt])
    elif payload.effect:
        with job.effect("act", on_doubt=payload.effect) as effect:
            if effect.pending:
                _append("effects.log", f"{job.id} act {job.attempt} {time.monotonic():.3f} {effect.key}")
                _live(job, payload.effect_seconds)
    if job.failures < payload.fail_times:
        raise Asked()
    _beat(job, "end")
    return {"attempt": job.attempt, "number": payload.number}


def _live(job: JobContext, seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left_s := end - time.monotonic()) > 0:
        time.sleep(min(BEAT_S, left_s))
        _beat(job, "beat")


def _beat(job: JobContext, what: str) -> None:
    _append("runs.log", f"{job.id} {job.attempt} {os.getpid()} {what} {time.monotonic():.3f}")


def _append(name: str, line: str) -> None:
    """One write: lines of many processes do not mix. The page cache outlives every process."""
    with Path(conf().data_dir / name).open("ab", buffering=0) as file:
        file.write(line.encode() + b"\n")
