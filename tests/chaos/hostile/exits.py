"""Handlers that end their process, by every exit code and signal, plain and in a process of their own."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial

from pydantic import BaseModel, ConfigDict

from jobs import Backoff, JobContext, handler
from tests.chaos.ledgers import append, beat, live

TOLD = "told.log"
"""The ledger of workers that a handler told to stop."""

SOON = Backoff(base_s=0.2, cap_s=1)
STAY_S = 2.0
"""Seconds that a handler goes on after a signal that asks its process to end."""


class Exits(BaseModel):
    model_config = ConfigDict(extra="forbid")

    way: str


def _in_thread(code: int) -> None:
    threading.Thread(target=os._exit, args=(code,)).start()
    time.sleep(60)


def _signal(number: int) -> None:
    os.kill(os.getpid(), number)


def _execute() -> None:
    os.execv("/bin/true", ["true"])


def _kill_group() -> None:
    os.killpg(os.getpgid(0), signal.SIGKILL)


HARD: dict[str, Callable[[], None]] = {
    "exit 0": partial(os._exit, 0),
    "exit 1": partial(os._exit, 1),
    "exit 75": partial(os._exit, 75),
    "exit 143": partial(os._exit, 143),
    "exit 0 in a thread": partial(_in_thread, 0),
    "exit 75 in a thread": partial(_in_thread, 75),
    "abort": os.abort,
    "execute": _execute,
    "SIGKILL": partial(_signal, signal.SIGKILL),
    "SIGSEGV": partial(_signal, signal.SIGSEGV),
    "group SIGKILL": _kill_group,
}
"""The process is gone at once: a crash, each time."""

SOFT: dict[str, Callable[[], None]] = {
    "SIGTERM": partial(_signal, signal.SIGTERM),
    "SIGINT": partial(_signal, signal.SIGINT),
    "SIGHUP": partial(_signal, signal.SIGHUP),
    "SIGUSR1": partial(_signal, signal.SIGUSR1),
    "SIGALRM": partial(_signal, signal.SIGALRM),
}
"""The process may heed it or end by it; the third attempt sends none."""

SOFT_ATTEMPTS = 2

TELL = "tell the worker"
"""The first attempt sends SIGTERM to the parent of its process; it is written down where that is a worker."""


@handler("chaos-exits", payload=Exits, backoff=SOON)
def exits(job: JobContext, payload: Exits) -> dict[str, int]:
    """End this process, and whatever runs in it."""
    return _exit(job, payload)


@handler("chaos-exits-apart", payload=Exits, isolate=True, backoff=SOON)
def exits_apart(job: JobContext, payload: Exits) -> dict[str, int]:
    """End this attempt's own process."""
    return _exit(job, payload)


def _exit(job: JobContext, payload: Exits) -> dict[str, int]:
    beat(job, "begin")
    live(job, 0.1)
    if payload.way in HARD:
        HARD[payload.way]()
        time.sleep(60)
    if payload.way == TELL and job.attempt == 1:
        append(TOLD, f"{job.id} {os.getppid()} {time.monotonic():.3f}")
        os.kill(os.getppid(), signal.SIGTERM)
    elif payload.way in SOFT and job.attempt <= SOFT_ATTEMPTS:
        SOFT[payload.way]()
        live(job, STAY_S)
    beat(job, "end")
    return {"attempt": job.attempt}
