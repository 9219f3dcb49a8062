"""Attempts in a process of their own: for `isolate=True`, and for jobs that have crashed before.

The standard library's forkserver forks them: a process with one thread and no connections, in which
Django and the handlers are loaded already. It and its children die with the horse (PDEATHSIG).
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import connection as pipes
from multiprocessing import forkserver
from typing import Any

from jobs.conf import conf
from jobs.context import JobContext, Line
from jobs.interrupts import Slot, Watch
from jobs.lifecycle import End
from jobs.process import how_it_ended
from jobs.run import TIMEOUT, backoff_s, ended, run
from jobs.transitions import Claimed, Ended

log = logging.getLogger("jobs.isolate")

NURSERY = "jobs.nursery"
"""Imported by the forkserver before it forks anything."""

TELL_S = 0.2
"""Seconds between two looks of parent and child at each other's news: progress, log lines, stop, cancel."""


def prepare() -> None:
    """Start the forkserver if it does not run. Only from the horse's main thread: see process.die_with_parent."""
    multiprocessing.set_forkserver_preload([NURSERY])
    before = os.environ.get("PYTHONPATH")
    # Python 3.11's forkserver looks for what it preloads in its own path only, and finding nothing says nothing.
    os.environ.update(NURSERY_OF_HORSE=str(os.getpid()), PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
    forkserver.ensure_running()
    del os.environ["NURSERY_OF_HORSE"], os.environ["PYTHONPATH"]
    if before is not None:
        os.environ["PYTHONPATH"] = before


@dataclass(frozen=True, slots=True)
class News:
    """What the child tells while it runs."""

    lines: Sequence[Line]
    progress: tuple[int, dict[str, Any] | None]


def run_isolated(claimed: Claimed, context: JobContext, stopping: threading.Event) -> Ended:
    """Run the attempt in a new process and wait for it. A process that dies is a crash of this job alone."""
    fork = multiprocessing.get_context("forkserver")
    ours, theirs = fork.Pipe()
    child = fork.Process(target=_main, args=(claimed, theirs), daemon=True)
    child.start()
    theirs.close()
    hard_s = claimed.timeout_s + conf().hard_timeout_extra_s
    deadline = time.monotonic() + hard_s
    told = ""
    try:
        while True:
            pipes.wait([ours, child.sentinel], timeout=min(TELL_S, max(0.0, deadline - time.monotonic())))
            answer = _read(ours, context)
            if answer is not None:
                return answer
            if not child.is_alive():
                answer = _read(ours, context)
                return answer or _died(claimed, context, f"its process ended with {how_it_ended(child.exitcode)}")
            if time.monotonic() >= deadline:
                return _overdue(claimed, context, hard_s)
            wish = "cancel" if context.is_cancelled else "stop" if stopping.is_set() else ""
            if wish and wish != told:
                _tell(ours, wish)
                told = wish
    finally:
        if child.is_alive():
            child.kill()
        child.join()
        ours.close()


def _read(pipe: pipes.Connection, context: JobContext) -> Ended | None:
    """Take over the child's news; its Ended once it has sent it."""
    try:
        while pipe.poll():
            message = pipe.recv()
            if isinstance(message, Ended):
                return message
            context.adopt(message.lines, message.progress)
    except (EOFError, OSError):
        pass
    return None


def _tell(pipe: pipes.Connection, wish: str) -> None:
    try:
        pipe.send(wish)
    except OSError:
        pass


def _died(claimed: Claimed, context: JobContext, how: str) -> Ended:
    context.has_effects = True  # nobody saw what it did; the database knows
    return ended(claimed.row, context, End.DIED, error_code="crashed", error_message=how)


def _overdue(claimed: Claimed, context: JobContext, hard_s: float) -> Ended:
    context.has_effects = True
    message = f"the attempt was killed after {hard_s:g} s"
    return ended(
        claimed.row, context, End.RAISED, delay_s=backoff_s(claimed.row), error_code=TIMEOUT, error_message=message
    )


# --- in the child ---------------------------------------------------------------------------------


def _main(claimed: Claimed, pipe: pipes.Connection) -> None:
    stopping = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    slot, watch = Slot(), Watch()
    context = JobContext(claimed.row, stopping)
    is_over = threading.Event()
    teller = threading.Thread(target=_exchange, args=(pipe, context, stopping, is_over), daemon=True)
    teller.start()
    result = run(claimed, context, slot, watch)
    is_over.set()
    teller.join()
    pipe.send(News(context.take_lines(), context.latest_progress))
    pipe.send(result)
    pipe.close()


def _exchange(pipe: pipes.Connection, context: JobContext, stopping: threading.Event, is_over: threading.Event) -> None:
    """Send news, take wishes. The horse that is gone takes this process with it (PDEATHSIG of the nursery)."""
    sent = context.latest_progress
    wishes: dict[str, Callable[[], None]] = {"cancel": context.cancel, "stop": stopping.set}
    while not is_over.wait(TELL_S):
        try:
            lines, progress = context.take_lines(), context.latest_progress
            if lines or progress != sent:
                pipe.send(News(lines, progress))
                sent = progress
            while pipe.poll():
                wishes[pipe.recv()]()
        except (EOFError, OSError):
            os._exit(1)
