"""Handlers that start programs which outlive them; each program writes to a ledger for as long as it lives."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict

from jobs import Backoff, JobContext, handler
from tests.chaos.ledgers import append, beat, live, path

CHILDREN = "children.log"
"""`<job> <attempt> <way> <pid> <seconds since boot>`: the steady clock of all processes of the machine."""

LIVES = 80
"""Lines that a program writes, ten a second, before it ends by itself."""

SOON = Backoff(base_s=0.2, cap_s=1)

WRITER = (
    f'n=0; while [ $n -lt {LIVES} ]; do read -r at rest < /proc/uptime; echo "$1 $2 $3 $$ $at" >> "$4";'
    " n=$((n + 1)); sleep 0.1; done"
)


class Offspring(BaseModel):
    model_config = ConfigDict(extra="forbid")

    way: str
    ending: str


def _command(job: JobContext, way: str) -> list[str]:
    return ["sh", "-c", WRITER, "sh", str(job.id), str(job.attempt), way, str(path(CHILDREN))]


def _start(command: Sequence[str], **options: object) -> None:
    subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)  # type: ignore[call-overload]


def _plain(job: JobContext) -> None:
    _start(_command(job, "plain"))


def _session(job: JobContext) -> None:
    _start(_command(job, "session"), start_new_session=True)


def _group(job: JobContext) -> None:
    _start(_command(job, "group"), process_group=0)


def _orphan(job: JobContext) -> None:
    """Its parent ends at once."""
    _start(["sh", "-c", '"$@" & exit 0', "sh", *_command(job, "orphan")])


def _daemon(job: JobContext) -> None:
    """A double fork with a session between, as daemons do."""
    _start(["setsid", "--fork", *_command(job, "daemon")])


def _nohup(job: JobContext) -> None:
    _start(["nohup", *_command(job, "nohup")])


def _empty(job: JobContext) -> None:
    """Without anything of our environment."""
    _start(_command(job, "empty"), env={"PATH": os.environ["PATH"]}, start_new_session=True)


def _write(line: str) -> None:
    for _ in range(LIVES):
        append(CHILDREN, f"{line} {os.getpid()} {time.clock_gettime(time.CLOCK_BOOTTIME):.2f}")
        time.sleep(0.1)


def _process(job: JobContext) -> None:
    line = f"{job.id} {job.attempt} process"
    multiprocessing.get_context("fork").Process(target=_write, args=(line,)).start()


WAYS: dict[str, Callable[[JobContext], None]] = {
    "plain": _plain,
    "session": _session,
    "group": _group,
    "orphan": _orphan,
    "daemon": _daemon,
    "nohup": _nohup,
    "empty": _empty,
    "process": _process,
}


class Failed(Exception):
    """The payload asked for this ending."""


def _overrun(job: JobContext) -> None:
    """Past the soft timeout."""
    live(job, 10)


def _stay(job: JobContext) -> None:
    """Past the hard limit."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            live(job, 1)
        except BaseException:
            pass


def _raise(job: JobContext) -> None:
    raise Failed


def _kill(job: JobContext) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


ENDINGS: dict[str, Callable[[JobContext], None]] = {
    "return": lambda job: None,
    "raise": _raise,
    "kill": _kill,
    "overrun": _overrun,
    "stay": _stay,
}


@handler("chaos-offspring", payload=Offspring, backoff=SOON, timeout_s=2)
def offspring(job: JobContext, payload: Offspring) -> dict[str, int]:
    """Start a program in a process that is shared."""
    return _leave(job, payload)


@handler("chaos-offspring-apart", payload=Offspring, isolate=True, backoff=SOON, timeout_s=2)
def offspring_apart(job: JobContext, payload: Offspring) -> dict[str, int]:
    """Start a program in the attempt's own process."""
    return _leave(job, payload)


def _leave(job: JobContext, payload: Offspring) -> dict[str, int]:
    """The first attempt ends as asked; the later ones live for a while beside whatever is left."""
    beat(job, "begin")
    if job.attempt == 1:
        WAYS[payload.way](job)
        live(job, 0.3)
        ENDINGS[payload.ending](job)
    else:
        live(job, 0.5)
    beat(job, "end")
    return {"attempt": job.attempt}
