"""Children in the foreground: started, their output prefixed, restarted when they die, stopped together.

Everything is decided in the thread that calls `run`, which takes one event at a time; other threads
only report. That thread starts all children, since the kernel ties a child's life to it.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import TextIOBase
from typing import IO

from jobs.process import signal_name
from jobsite import tether

BACKOFF_S = (0.5, 1, 2, 4, 8, 15)
"""Between a child's death and its next start; the last one repeats."""

SETTLED_S = 10
"""A child that lived so long begins again with the shortest back-off."""

STOP_TIMEOUT_S = 45
"""A worker's grace (25 s by default) and then some; after that a child is killed."""

SAME_ORDER_S = 1
"""Signals so close are one order: a terminal or a tool may send it to the group and to the process."""

Event = Callable[[], None]


@dataclass(eq=False)
class Child:
    name: str
    command: Sequence[str]
    process: subprocess.Popen[str] | None = None
    started_at: float = 0
    deaths: int = 0
    """In a row."""
    start_at: float | None = 0
    """When to start it, by the monotonic clock; None while it runs."""
    is_wanted: bool = True
    """False while it was told to stop so that it starts anew."""


class Supervisor:
    def __init__(
        self, children: Sequence[Child], environment: Mapping[str, str], say: Callable[[str, str], None]
    ) -> None:
        self.children = children
        self.environment = {**environment, **tether.environment(), "PYTHONUNBUFFERED": "1"}
        self.say = say
        """Called with a child's name and a line, from several threads."""
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._stop_ordered_at: float | None = None
        self._is_hurried = False

    # --- told by other threads and signal handlers (SimpleQueue.put is safe in both) -------------------

    def stop(self) -> None:
        self._events.put(self._stop)

    def restart(self) -> None:
        """Start every child anew, each as soon as it has stopped warm."""
        self._events.put(self._restart)

    # --- the loop -------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until `stop`, and until every child has ended."""
        while self._stop_ordered_at is None:
            self._start_due()
            self._take_event(self._next_start_in())
        self._end()

    def _start_due(self) -> None:
        for child in self.children:
            if child.start_at is not None and child.start_at <= time.monotonic():
                self._start(child)

    def _next_start_in(self) -> float | None:
        due = [child.start_at for child in self.children if child.start_at is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _take_event(self, timeout_s: float | None) -> None:
        try:
            event = self._events.get(timeout=timeout_s)
        except queue.Empty:
            return
        event()

    def _start(self, child: Child) -> None:
        child.start_at = None
        child.started_at = time.monotonic()
        child.process = process = subprocess.Popen(
            child.command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,  # Ctrl-C in the terminal is for us; the children are told by SIGTERM
        )
        threading.Thread(target=self._follow, args=(child, process), name=child.name, daemon=True).start()

    def _follow(self, child: Child, process: subprocess.Popen[str]) -> None:
        output: IO[str] = process.stdout  # type: ignore[assignment]  # there is one: a pipe was asked for
        with output:
            for line in output:
                self.say(child.name, line.rstrip("\n"))
        process.wait()
        self._events.put(lambda: self._ended(child, process))

    def _ended(self, child: Child, process: subprocess.Popen[str]) -> None:
        if child.process is not process:
            return
        child.process = None
        if self._stop_ordered_at is not None:
            return
        if not child.is_wanted:
            child.is_wanted, child.deaths, child.start_at = True, 0, time.monotonic()
            return
        if time.monotonic() - child.started_at > SETTLED_S:
            child.deaths = 0
        delay_s = BACKOFF_S[min(child.deaths, len(BACKOFF_S) - 1)]
        child.deaths += 1
        child.start_at = time.monotonic() + delay_s
        self.say(child.name, f"ended ({_outcome(process.returncode)}); starts again in {delay_s} s")

    def _restart(self) -> None:
        for child in self.children:
            if child.process is None:
                child.deaths, child.start_at = 0, time.monotonic()
            elif child.is_wanted:
                child.is_wanted = False
                child.process.terminate()

    def _stop(self) -> None:
        now = time.monotonic()
        if self._stop_ordered_at is None:
            self._stop_ordered_at = now
        elif now - self._stop_ordered_at > SAME_ORDER_S:
            self._is_hurried = True

    def _end(self) -> None:
        """Ask all to stop, wait for all; a second order to stop, or the time limit, kills."""
        for child in self.children:
            if child.process is not None:
                child.process.terminate()
        self._await_ends(time.monotonic() + STOP_TIMEOUT_S)
        for child in self.children:
            if child.process is not None:
                child.process.kill()
                child.process.wait()

    def _await_ends(self, deadline: float) -> None:
        while any(child.process is not None for child in self.children):
            left_s = deadline - time.monotonic()
            if left_s <= 0 or self._is_hurried:
                return
            self._take_event(left_s)


def _outcome(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal_name(-code)}"


class Printer:
    """Lines of several children on one terminal, each behind its name, in its colour where there are colours."""

    COLOURS = (36, 33, 35, 32, 34, 31)

    def __init__(self, out: TextIOBase, names: Sequence[str]) -> None:
        self.out = out
        self.width = max(map(len, names), default=0)
        self.colours = {name: self.COLOURS[index % len(self.COLOURS)] for index, name in enumerate(names)}
        self.has_colours = out.isatty() and "NO_COLOR" not in os.environ
        self._lock = threading.Lock()

    def __call__(self, name: str, line: str) -> None:
        prefix = f"{name:<{self.width}} |"
        if self.has_colours and name in self.colours:
            prefix = f"\x1b[{self.colours[name]}m{prefix}\x1b[0m"
        with self._lock:
            self.out.write(f"{prefix} {line}\n")
            self.out.flush()


def manage(*arguments: str) -> list[str]:
    """The command line of `manage.py <arguments>` under this Python."""
    from jobsite.environment import BASE_DIR

    return [sys.executable, str(BASE_DIR / "manage.py"), *arguments]
