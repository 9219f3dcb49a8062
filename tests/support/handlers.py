"""Types of job that only tests need. Those that ship (`echo`) cover most of what tests ask for."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from django.db import connection, transaction

from jobs import Backoff, JobContext, Permanent, Retry, handler
from jobs.models import QueueState

SOON = Backoff(base_s=0.1, cap_s=0.2)

_kept: list[bytearray] = []
"""What `test-memory` and `test-greedy` never give back."""


def _append(path: str, word: object) -> None:
    """A line in a ledger outside of the database."""
    with open(path, "a") as ledger:
        ledger.write(f"{word}\n")


@handler("test-retry")
def retry(job: JobContext, payload: dict[str, Any]) -> int:
    """Ask for another attempt after a while, once."""
    if job.failures == 0:
        raise Retry(payload["afterSeconds"])
    return job.attempt


@handler("test-steps")
def steps(job: JobContext, payload: dict[str, Any]) -> str:
    """Say how far it is, then wait for a file."""
    job.progress(1, 2, "waiting for the gate")
    job.log("at the gate of %s", "the test")
    while not Path(payload["gate"]).exists():
        time.sleep(0.02)
    job.progress(2, 2, "through")
    job.log.warning("through the gate")
    return "through"


@handler("test-progress")
def progress(job: JobContext, payload: dict[str, Any]) -> str:
    """Tell a progress that may not be a number."""
    values: dict[str, Any] = {"object": object(), "large": 2**70, "text": "half", "nan": float("nan")}
    job.progress(values[payload["kind"]])
    time.sleep(0.1)  # longer than it takes the horse to mirror it
    return "told"


@handler("test-nap", backoff=SOON)
def nap(job: JobContext, payload: dict[str, Any]) -> int:
    """Sleep in C, where nothing interrupts; only the first time when `once`."""
    if "ledger" in payload:
        _append(payload["ledger"], job.attempt)
    if job.attempt == 1 or not payload.get("once"):
        time.sleep(payload["seconds"])
    return job.attempt


@handler("test-regex", backoff=SOON)
def regex(job: JobContext, payload: dict[str, Any]) -> int:
    """Hold the GIL for about so many seconds: backtracking doubles with each letter."""
    if "ledger" in payload:
        _append(payload["ledger"], job.attempt)
    letters = 18
    began = time.monotonic()
    re.match("(a+)+$", "a" * letters + "b")
    taken = time.monotonic() - began
    while taken < payload["seconds"]:
        letters, taken = letters + 1, taken * 2
    re.match("(a+)+$", "a" * letters + "b")
    return job.attempt


@handler("test-spin")
def spin(job: JobContext, payload: dict[str, Any]) -> None:
    """Compute for so many seconds of this thread; `+` and `-` in the ledger as it begins and ends."""
    _append(payload["ledger"], "+")
    until = time.thread_time() + payload["seconds"]
    while time.thread_time() < until:
        pass
    _append(payload["ledger"], "-")


@handler("test-stubborn", backoff=SOON)
def stubborn(job: JobContext, payload: dict[str, Any]) -> None:
    """Swallow everything and go on."""
    while True:
        try:
            time.sleep(0.05)
        except BaseException:
            pass


@handler("test-polite", backoff=SOON)
def polite(job: JobContext, payload: dict[str, Any]) -> str:
    """Swallow every Exception, in pure Python; a timeout is none."""
    while True:
        try:
            time.sleep(0.01)
        except Exception:
            pass


@handler("test-finishing")
def finishing(job: JobContext, payload: dict[str, Any]) -> str:
    """Work until told to stop, then finish properly."""
    while not job.should_stop:
        time.sleep(0.02)
    time.sleep(0.2)
    return "finished"


@handler("test-async", backoff=SOON)
async def asynchronous(job: JobContext, payload: dict[str, Any]) -> str:
    """Wait in an event loop, with an effect when asked for."""
    await asyncio.sleep(payload.get("seconds", 0))
    if payload.get("effect"):
        with job.effect("send", on_doubt="skip") as effect:
            await asyncio.sleep(0.05)
            effect.result = effect.key
    return "awaited"


@handler("test-isolated", isolate=True, backoff=SOON)
def isolated(job: JobContext, payload: dict[str, Any]) -> dict[str, int]:
    """In a process of its own: tell which, crash, be killed in an effect, sleep in C."""
    job.progress(job.attempt, None, "inside")
    job.log("attempt %d is inside", job.attempt)
    if job.crashes < payload.get("crashTimes", 0):
        os.kill(os.getpid(), signal.SIGKILL)
    if number := payload.get("signalInEffect"):
        with job.effect("send", on_doubt="hold"):
            os.kill(os.getpid(), number)
    time.sleep(payload.get("seconds", 0))
    return {"pid": os.getpid(), "parent": os.getppid(), "attempt": job.attempt}


@handler("test-spawn")
def spawn(job: JobContext, payload: dict[str, Any]) -> None:
    """Start a process and wait for it; its pid is the progress."""
    child = subprocess.Popen(["sleep", "600"])
    job.progress(child.pid)
    child.wait()


@handler("test-holding", backoff=SOON)
def holding(job: JobContext, payload: dict[str, Any]) -> None:
    """Write, and keep the transaction open."""
    with transaction.atomic():
        QueueState.objects.filter(name="none").update(paused_by="")
        time.sleep(payload["seconds"])


@handler("test-long-sql", isolate=True, backoff=SOON)
def long_sql(job: JobContext, payload: dict[str, Any]) -> None:
    """PostgreSQL: hold the job's own row by a statement that its client does not live to see the end of; once."""
    if job.failures:
        return
    with job.effect("rows", transactional=True), connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [payload["seconds"]])


@handler("test-memory")
def memory(job: JobContext, payload: dict[str, Any]) -> int:
    """Keep memory for good; the pid tells which process."""
    _kept.append(bytearray(os.urandom(1) * (payload["megabytes"] * 2**20)))
    return os.getpid()


@handler("test-greedy", backoff=SOON)
def greedy(job: JobContext, payload: dict[str, Any]) -> None:
    """Take memory without end."""
    while True:
        _kept.append(bytearray(b"\1") * 2**24)


@handler("test-greedy-apart", isolate=True, backoff=SOON)
def greedy_apart(job: JobContext, payload: dict[str, Any]) -> None:
    """The same in a process of its own."""
    while True:
        _kept.append(bytearray(b"\1") * 2**24)


@handler("test-result", backoff=SOON)
def result(job: JobContext, payload: dict[str, Any]) -> Any:
    """Return what no database stores."""
    nested: Any = []
    for _ in range(200):
        nested = [nested]
    return {
        "nan": float("nan"),
        "nul": "a\0b",
        "surrogate": "a\ud800b",
        "large": "x" * 10_000_000,
        "deep": nested,
        "integer": 2**70,
        "object": object(),
        "good": "good",
    }[payload["kind"]]


@handler("test-error", max_attempts=1)
def error(job: JobContext, payload: dict[str, Any]) -> None:
    """Raise an error whose words are hard to store."""
    words = {"nul": "a\0b", "surrogate": "a\ud800b", "large": "x" * 10_000_000, "payload": str(payload)}
    if payload["kind"] == "permanent":
        raise Permanent("no\0good" * 40, "a\0b")
    raise RuntimeError(words[payload["kind"]])


def _chat() -> int:
    """More than any buffer holds, so that it is written while the handler runs."""
    for stream in (sys.stdout, sys.stderr):
        for _ in range(200):
            print("word " * 200, file=stream)
        stream.flush()
    return subprocess.run(
        ["/bin/sh", "-c", "trap '' PIPE; echo more; echo more >&2; read line; exit 7"], check=False
    ).returncode


@handler("test-chatty", max_attempts=1)
def chatty(job: JobContext, payload: dict[str, Any]) -> dict[str, int]:
    return {"code": _chat()}


@handler("test-chatty-isolated", max_attempts=1, isolate=True)
def chatty_isolated(job: JobContext, payload: dict[str, Any]) -> dict[str, int]:
    return {"code": _chat()}


from tests.support import processes_of_handlers as processes_of_handlers  # noqa: E402  (registers its own)
