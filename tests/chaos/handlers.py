"""The job of a fault run: it tells a file outside of the database when it lives and what it did."""

from __future__ import annotations

import time
from typing import Literal

from django.db import connection
from pydantic import BaseModel, ConfigDict

from jobs import Backoff, JobContext, handler
from tests.chaos.hostile import burdens, exits, offspring, refused, worlds  # noqa: F401  # their handlers register themselves
from tests.chaos.ledgers import append, beat, live

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
    beat(job, "begin")
    live(job, payload.seconds)
    if payload.effect == "transactional":
        with job.effect("act", transactional=True) as effect:
            if effect.pending:
                with connection.cursor() as cursor:
                    cursor.execute(f"INSERT INTO {TABLE} (job_id, attempt) VALUES (%s, %s)", [str(job.id), job.attempt])
    elif payload.effect:
        with job.effect("act", on_doubt=payload.effect) as effect:
            if effect.pending:
                append("effects.log", f"{job.id} act {job.attempt} {time.monotonic():.3f} {effect.key}")
                live(job, payload.effect_seconds)
    if job.failures < payload.fail_times:
        raise Asked()
    beat(job, "end")
    return {"attempt": job.attempt, "number": payload.number}
