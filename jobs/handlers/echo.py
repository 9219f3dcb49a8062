"""echo: a job that does what its payload says, for trying things out and for tests from outside.

Registered only with JOBS_DEMO. In this order: sleep, effect, crash or fail, progress, return.
"""

from __future__ import annotations

import datetime as dt
import os
import signal
import time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from jobs.conf import conf
from jobs.context import JobContext
from jobs.documents import isotime
from jobs.effects import Effect
from jobs.errors import Interrupted, Permanent
from jobs.registry import handler
from jobs.retry import Backoff

STEP_S = 0.05
"""Length of one nap: how soon a stop or a cancel is noticed."""

Seconds = Annotated[float, Field(ge=0, le=86_400)]
Times = Annotated[int, Field(ge=0, le=1000)]


class Echo(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)

    value: Any = None
    sleep_seconds: Seconds = 0
    fail_times: Times | None = None
    permanent: bool = False
    crash_times: Times = 0
    effect: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    effect_sleep_seconds: Seconds = 0
    on_doubt: Literal["hold", "skip", "repeat"] = "hold"
    progress_steps: Times = 0

    @property
    def failures_wanted(self) -> int:
        """`permanent` alone means: fail once."""
        return int(self.permanent) if self.fail_times is None else self.fail_times


class AskedToFail(Exception):
    """The payload asked for this failure."""


@handler("echo", payload=Echo, backoff=Backoff(base_s=0.5, cap_s=10))
def echo(job: JobContext, payload: Echo) -> dict[str, Any]:
    """Do what the payload says: sleep, have an effect, crash, fail, tell progress; then return `value`."""
    _sleep(job, payload.sleep_seconds)
    if payload.effect is not None:
        with job.effect(payload.effect, on_doubt=payload.on_doubt) as effect:
            if effect.pending:
                _write_ledger(job, effect)
                time.sleep(payload.effect_sleep_seconds)
    if job.crashes < payload.crash_times:
        os.kill(os.getpid(), signal.SIGKILL)
    if job.failures < payload.failures_wanted:
        if payload.permanent:
            raise Permanent("asked-to-fail", "the payload asked for a permanent failure")
        raise AskedToFail(f"failure {job.failures + 1} of {payload.failures_wanted} that the payload asked for")
    for step in range(1, payload.progress_steps + 1):
        job.progress(step, payload.progress_steps, f"step {step} of {payload.progress_steps}")
    return {"value": payload.value, "attempt": job.attempt}


def _sleep(job: JobContext, seconds: float) -> None:
    """In short naps. A stop ends the attempt, which is then released; a cancel is raised by itself."""
    end = time.monotonic() + seconds
    while (left_s := end - time.monotonic()) > 0:
        if job.should_stop:
            raise Interrupted("told to stop while asleep")
        time.sleep(min(STEP_S, left_s))


def _write_ledger(job: JobContext, effect: Effect) -> None:
    """One line, one write, on the disk when it returns: what a test from outside counts."""
    line = f"{job.id} {effect.name} {job.attempt} {isotime(dt.datetime.now(dt.UTC))} {effect.key}\n"
    ledger = os.open(conf().effects_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(ledger, line.encode())
        os.fsync(ledger)
    finally:
        os.close(ledger)
