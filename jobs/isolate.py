"""Attempts in a process of their own, as their horse sees them: for `isolate=True`, and for jobs that have crashed before.

A helper of the horse forks them (`nursery.py`). What such a process says is JSON, and is believed as far as it fits:
nothing that it sends can break the horse. Its outcome is known when all that it started has ended, and no earlier.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import os
import pickle
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

import orjson

from jobs import process
from jobs.conf import conf
from jobs.context import LINE_MAX, JobContext, Line
from jobs.lifecycle import End
from jobs.run import TIMEOUT, backoff_s, ended
from jobs.texts import clean_text
from jobs.transitions import Claimed, Ended
from jobs.wire import BadFrame, Wire

log = logging.getLogger("jobs.isolate")

START = """
import sys
sys.path[:] = {path!r}
sys.argv[:] = {argv!r}
{main}
from jobs.nursery import serve
serve({control}, {horse}, {lease!r})
"""
"""What the helper begins with. `multiprocessing` looks at `__file__` of the main module."""

TELL_S = 0.2
"""Seconds between two looks at the horse's wishes: stop, cancel."""

ENDING_S = 2.0
"""Seconds that a process may take to end once it has answered, or can answer no more; then it is killed."""

KILLING_S = 10.0
"""Seconds after which a process that was killed counts as ended: it waits in the kernel."""

LOADING_S = 60.0
"""Seconds that the helper may take to load the project; then it is killed, and tried again for the next attempt."""

WORD = 32
"""Bytes of what a keeper says at most: a status, or the negative number of an error."""

TEXTS = ("result", "error_code", "error_message", "error_text")

FRAME_EXTRA = 2**26
"""Bytes of a frame beyond a result: the log lines of an attempt, whose number and length are limited."""

ENDS = {end.value: end for end in (End.RETURNED, End.RAISED, End.PERMANENT, End.RELEASED)}
"""What a process may say of its own end."""


class Unstarted(Exception):
    """The process of an attempt could not be started: its handler has not begun."""


class Nursery:
    """The helper of one horse. It and what it forks begin with the world in which the horse began."""

    def __init__(self) -> None:
        """To be made before handlers run: they may change directory, mask and environment of this process."""
        self._folder, self._environment = os.getcwd(), dict(os.environ)
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def prepare(self) -> None:
        """Start the helper if it does not run. Only from the horse's main thread: see process.die_with_parent."""
        if self._server is not None and self._server.poll() is None:
            return
        if self._control is not None:
            self._control.close()
        self._server = self._control = None
        try:
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            with theirs:
                self._server = self._start(theirs.fileno())
        except OSError as error:  # no more processes or files; the attempts are told so
            log.error("the helper for isolated attempts could not be started: error=%s", error)

    def _start(self, control: int) -> subprocess.Popen[bytes]:
        main = getattr(sys.modules["__main__"], "__file__", None)
        code = START.format(
            path=sys.path, argv=sys.argv, control=control, horse=os.getpid(), lease=self._environment.get(process.MARK, ""),
            main=f"__file__ = {main!r}" if main else "",
        )  # fmt: skip
        flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        return subprocess.Popen(
            [sys.executable, *flags, "-c", code],
            stdin=subprocess.DEVNULL, pass_fds=[control], cwd=self._folder, env=self._environment, umask=self._umask,
        )  # fmt: skip

    def await_ready(self, stopping: threading.Event) -> None:
        """Return when the helper has loaded the project. A handler's time limits begin after it. Raises Unstarted."""
        server, control, until = self._server, self._control, time.monotonic() + LOADING_S
        if control is None:
            raise Unstarted("the helper that loads the project was not started")
        poll = select.poll()
        poll.register(control, select.POLLIN)
        while not poll.poll(TELL_S * 1000):
            if stopping.is_set():
                raise Unstarted("the worker stops")
            if time.monotonic() > until:
                if server is not None:
                    server.kill()
                raise Unstarted(f"the project was not loaded within {LOADING_S:g} s")
        with contextlib.suppress(OSError):
            if control.recv(1, socket.MSG_PEEK):
                return
        raise Unstarted("the helper that loads the project ended")

    def run(self, claimed: Claimed, context: JobContext, stopping: threading.Event) -> Ended:
        """Run the attempt in a new process and wait for it. A process that dies is a crash of this job alone.

        Raises Unstarted."""
        try:
            ours, theirs = socket.socketpair()
            with theirs:
                keeper, keepers = socket.socketpair()
                with keepers:
                    assert self._control is not None
                    socket.send_fds(self._control, [b"a"], [theirs.fileno(), keepers.fileno()])
        except OSError as error:
            raise Unstarted(str(error)) from error
        with ours, keeper:
            return Attempt(claimed, context, ours, keeper).wait(stopping)


class Attempt:
    """One attempt elsewhere: its wire to the process that runs it, and the socket of that process' keeper."""

    def __init__(self, claimed: Claimed, context: JobContext, ours: socket.socket, keeper: socket.socket) -> None:
        self._claimed, self._context = claimed, context
        self._wire = Wire(ours, conf().result_max_bytes * 6 + FRAME_EXTRA)
        self._keeper = keeper
        self._answer: Mapping[str, Any] | None = None
        self._status: int | None = None
        """As `waitpid` tells it, from the keeper."""

        self._is_over = False
        self._ends_by = float("inf")
        """When the process is killed unless it has ended by then."""

        self._is_killed = self._is_late = False
        """The second: for its hard limit."""

        self._told = ""
        self._wire.send(pickle.dumps(claimed))

    def wait(self, stopping: threading.Event) -> Ended:
        """Until the attempt is over, and all that it started."""
        hard_s = self._claimed.timeout_s + conf().hard_timeout_extra_s
        self._ends_by = time.monotonic() + hard_s
        while not self._is_over:
            self._look(min(TELL_S, self._ends_by - time.monotonic()))
            self._hear()
            if self._is_ending:
                self._ends_by = min(self._ends_by, time.monotonic() + ENDING_S)
            if time.monotonic() < self._ends_by:
                self._tell("cancel" if self._context.is_cancelled else "stop" if stopping.is_set() else "")
            elif not self._is_killed:
                self._is_late = not self._is_ending
                self._kill()
            else:
                log.error("the process of an attempt does not end: job=%s", self._claimed.row.id)
                break
        return self._ended(hard_s)

    def _look(self, seconds: float) -> None:
        """Wait for something to happen."""
        poll = select.poll()
        poll.register(self._keeper, select.POLLIN)
        if not self._wire.is_closed:
            poll.register(self._wire, select.POLLIN | (select.POLLOUT if self._wire.has_unsent else 0))
        poll.poll(max(0.0, seconds) * 1000)

    @property
    def _is_ending(self) -> bool:
        """Whether it has answered, or can answer no more."""
        return self._answer is not None or self._wire.is_closed

    def _hear(self) -> None:
        self._wire.flush()
        try:
            for frame in self._wire.frames():
                self._take(orjson.loads(frame))
        except (BadFrame, ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("an attempt in a process of its own said what cannot be understood (%s): job=%s",
                        type(error).__name__, self._claimed.row.id)  # fmt: skip
            self._kill()
        with contextlib.suppress(BlockingIOError):
            try:
                told = self._keeper.recv(WORD, socket.MSG_DONTWAIT)
            except ConnectionError:
                told = b""
            self._is_over = True
            self._status = int(told) if told else None

    def _take(self, document: dict[str, Any]) -> None:
        """Take over news, or the answer. Raises what a document raises that does not fit."""
        if self._answer is not None:
            return
        lines = [
            Line(dt.datetime.fromisoformat(at), str(level), clean_text(text, LINE_MAX))
            for at, level, text in document["lines"]
        ]
        number, progress = document["progress"]
        self._context.adopt(lines, (int(number), progress))
        if answer := document.get("answer"):
            self._context.has_effects |= bool(answer.pop("has_effects"))
            end, delay_s = ENDS[answer.pop("end")], float(answer.pop("delay_s"))
            texts = {name: None if answer[name] is None else str(answer[name]) for name in TEXTS}
            self._answer = {"end": end, "delay_s": delay_s, **texts}

    def _tell(self, wish: str) -> None:
        if wish and wish != self._told:
            self._told = wish
            self._wire.send(wish.encode())

    def _kill(self) -> None:
        """Have the keeper end the attempt and all that it started."""
        if self._is_killed:
            return
        self._is_killed = True
        self._ends_by = time.monotonic() + KILLING_S
        with contextlib.suppress(OSError):
            self._keeper.shutdown(socket.SHUT_WR)

    def _ended(self, hard_s: float) -> Ended:
        row, context = self._claimed.row, self._context
        if self._answer is not None:
            return ended(row, context, **self._answer)
        context.has_effects = True  # nobody saw what it did; the database knows
        if self._is_late:
            return ended(
                row, context, End.RAISED, delay_s=backoff_s(row), error_code=TIMEOUT,
                error_message=f"the attempt was killed after {hard_s:g} s",
            )  # fmt: skip
        if self._status is not None and self._status < 0:
            raise Unstarted(os.strerror(-self._status))
        how = (
            "an unknown end" if self._status is None else process.how_it_ended(os.waitstatus_to_exitcode(self._status))
        )
        return ended(
            row,
            context,
            End.DIED,
            error_code="crashed",
            error_message=f"its process ended with {how}, without an answer",
        )
