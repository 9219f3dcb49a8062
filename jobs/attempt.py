"""One isolated attempt, in the process that was forked for it: what it is given, what it tells, how it answers."""

from __future__ import annotations

import os
import pickle
import select
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import orjson
from setproctitle import setproctitle

from jobs.context import JobContext, Line
from jobs.interrupts import Slot, Watch
from jobs.run import run
from jobs.transitions import Claimed, Ended
from jobs.wire import Wire

TELL_S = 0.2
"""Seconds between two looks at what there is to tell, and at the horse's wishes."""

LONGEST = 2**31
"""Bytes of a frame of the horse at most."""


def perform(end: socket.socket, lease: str) -> NoReturn:
    """Run the attempt that arrives, and answer; its process ends here."""
    wire = Wire(end, LONGEST)
    claimed: Claimed = pickle.loads(_first(wire))  # noqa: S301 (the horse is believed)
    setproctitle(f"jobs_attempt --lease={lease} {claimed.row.id}")
    _draw_other_numbers()
    stopping, is_over = threading.Event(), threading.Event()
    context = JobContext(claimed.row, stopping)
    teller = threading.Thread(target=_exchange, args=(wire, context, stopping, is_over), name="teller", daemon=True)
    teller.start()
    result = run(claimed, context, Slot(), Watch())
    is_over.set()
    teller.join()
    _say(wire, context.take_lines(), context.latest_progress, result)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # threads that the handler left end with it


def _first(wire: Wire) -> bytes:
    while True:
        for frame in wire.frames():
            return frame
        _wait(wire, select.POLLIN)


def _wait(wire: Wire, event: int) -> None:
    if wire.is_closed:  # the horse is gone
        os._exit(1)
    poll = select.poll()
    poll.register(wire, event)
    poll.poll()


def _draw_other_numbers() -> None:
    """All attempts are forked from one process. `random` draws afresh after a fork by itself; NumPy does not."""
    if numpy_random := sys.modules.get("numpy.random"):
        numpy_random.seed()


def _say(wire: Wire, lines: Sequence[Line], progress: Any, answer: Ended | None = None) -> None:
    """Send the news, and the answer where there is one; returns when it is sent."""
    document: dict[str, Any] = {
        "lines": [(line.at.isoformat(), line.level, line.message) for line in lines], "progress": progress,
    }  # fmt: skip
    if answer is not None:
        names = ("end", "delay_s", "has_effects", "result", "error_code", "error_message", "error_text")
        document["answer"] = {name: getattr(answer, name) for name in names}
    wire.send(orjson.dumps(document))
    while wire.has_unsent:
        _wait(wire, select.POLLOUT)
        wire.flush()


def _exchange(wire: Wire, context: JobContext, stopping: threading.Event, is_over: threading.Event) -> None:
    """Send news and take wishes, in a thread beside the handler."""
    sent = context.latest_progress
    wishes: dict[bytes, Callable[[], None]] = {b"cancel": context.cancel, b"stop": stopping.set}
    while not is_over.wait(TELL_S):
        lines, progress = context.take_lines(), context.latest_progress
        if lines or progress != sent:
            _say(wire, lines, progress)
            sent = progress
        for frame in wire.frames():
            wishes[frame]()
        if wire.is_closed:
            os._exit(1)
