"""The helper of a horse that forks isolated attempts, and a keeper for each of them.

    horse
    └── server     one thread, no connections, Django and handlers loaded; dies with the horse
        └── keeper     adopts what the attempt leaves, and ends all of it before it tells how the attempt ended
            └── attempt    runs the handler (`attempt.py`); dies with the keeper

A keeper runs no code of others and has a session to itself. So it ends what an attempt started whoever dies first: the
attempt, the server, the horse or the worker. A session or an environment of their own hides no process from it.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import socket
from importlib import import_module
from typing import NoReturn

import django
from django.db import connections
from setproctitle import setproctitle

from jobs import process, streams

log = logging.getLogger("jobs.isolate")

ATTEMPT = "jobs.attempt"
"""Imported once Django is set up, and before anything is forked."""


class Bell:
    """Rings when a child ends or SIGTERM comes."""

    def __init__(self) -> None:
        self._rung, self._ringing = socket.socketpair()
        self._rung.setblocking(False)
        self._ringing.setblocking(False)
        signal.set_wakeup_fd(self._ringing.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, process.ignore)

    def wait(self, other: socket.socket | None) -> bool:
        """Wait until it rings or there is something to read; whether there is."""
        ready, _, _ = select.select([self._rung, *([other] if other else [])], [], [])
        with contextlib.suppress(BlockingIOError):
            self._rung.recv(4096)
        return other in ready

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        self._rung.close()
        self._ringing.close()


def serve(control: int, horse: int, lease: str) -> NoReturn:
    """Say that the project is loaded, and fork a keeper for each pair of sockets that arrives, until the horse ends."""
    streams.outlast(1, 2)  # else a print into a pipe whose reader has died ends the attempt
    process.die_with_parent(horse)
    process.reset_signals()
    process.adopt_orphans()  # of keepers that were killed
    process.allow_blocking_in_event_loops()
    channel = socket.socket(fileno=control)
    channel.set_inheritable(False)
    setproctitle(f"jobs_nursery --lease={lease}")
    django.setup()
    import_module(ATTEMPT)
    connections.close_all()
    gc.collect()
    gc.freeze()  # the collector writes to each object that it looks at, and what is written to is not shared
    bell, keepers = Bell(), set[int]()
    channel.send(b"r")  # ready
    while True:
        has_news = bell.wait(channel)
        keepers -= set(process.reap())
        for stray in set(process.children()) - keepers:
            process.kill(stray)
        if not has_news:
            continue
        message, files = b"", list[int]()
        with contextlib.suppress(ConnectionError):  # the horse has ended and had not taken the word from its socket
            message, files, _, _ = socket.recv_fds(channel, 1, 2)
        if not message:
            os._exit(0)
        for file in files:
            os.set_inheritable(file, False)  # a program that takes the attempt's place has no answer to give
        end, report = (socket.socket(fileno=file) for file in files)
        with end, report:
            try:
                keeper = os.fork()
            except OSError as error:
                report.send(b"%d" % -(error.errno or 1))
                continue
            if keeper == 0:
                bell.close()
                channel.close()
                _keep(end, report, horse, lease)
            keepers.add(keeper)


def _keep(end: socket.socket, report: socket.socket, horse: int, lease: str) -> NoReturn:
    """In the keeper: fork the attempt, end all of it, and report its status, or the negative number of an error."""
    try:
        horse_started = process.started(horse)
        process.die_with_parent(os.getppid(), signal.SIGTERM)
        os.setsid()  # what kills the horse's group leaves the keeper to its duty
        process.adopt_orphans()
        setproctitle(f"{process.KEEPER} --lease={lease}")
        bell = Bell()
        keeper = os.getpid()
        try:
            attempt = os.fork()
        except OSError as error:
            report.send(b"%d" % -(error.errno or 1))
            os._exit(1)
        if attempt == 0:
            bell.close()
            report.close()
            _begin(end, keeper, lease)
        end.close()
        watched: socket.socket | None = report
        while attempt not in (ended := process.reap()):
            if bell.wait(watched) or not process.is_alive(horse, horse_started):
                watched = None  # the horse wishes it, or is gone
                process.kill(attempt)
        process.kill_children()
        with contextlib.suppress(OSError):
            report.send(b"%d" % ended[attempt])
    except BaseException:
        log.exception("a keeper ended by an error")
    finally:
        os._exit(0)


def _begin(end: socket.socket, keeper: int, lease: str) -> NoReturn:
    """In the attempt: what a handler's process begins with."""
    try:
        process.die_with_parent(keeper)
        os.setsid()  # a handler that signals its whole group reaches nobody else
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, process.ignore)
        process.default_in_forks()
        os.register_at_fork(after_in_child=end.close)  # nobody else answers for the attempt
        import_module(ATTEMPT).perform(end, lease)
    except BaseException:
        log.exception("an attempt ended by an error of the system's")
    finally:
        os._exit(1)
