"""A horse before it is one: forked from the worker while that has neither threads nor connections.

So the two share the memory of what both have loaded, which is most of what an idle worker takes. The foal waits
for its arguments: the lease is opened and the timer armed before it is a horse. Only a process with one thread
forks safely, so the horse that follows another one is a program that is started.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Sequence
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

from django.core.management import call_command
from django.db import connections
from setproctitle import setproctitle

from jobs import process

log = logging.getLogger("jobs.worker")


class Foal:
    """What a supervisor uses of `subprocess.Popen`, and `grow`. One that is forgotten before ends by itself."""

    def __init__(self) -> None:
        gc.collect()
        gc.freeze()  # the collector writes to each object that it looks at, and what is written to is not shared
        connections.close_all()
        sys.stdout.flush()
        sys.stderr.flush()
        self.returncode: int | Any = None
        self._pipe, theirs = multiprocessing.Pipe()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            self._pipe.close()
            _wait(theirs, parent)
        theirs.close()
        with contextlib.suppress(EOFError, OSError):
            self._pipe.recv()  # it leads its group from here on

    def grow(self, arguments: Sequence[str], channel: int) -> None:
        """Be the horse, with a channel of that number (here). That it has died, `poll` will tell."""
        with contextlib.suppress(OSError):
            reduction.send_handle(self._pipe, channel, self.pid)
            self._pipe.send(arguments)
        self._pipe.close()

    def poll(self) -> int | None:
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # where SIGCHLD is ignored the kernel keeps no status
                self.returncode = 1
            else:
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def _wait(pipe: Connection, parent: int) -> None:
    """In the child, for ever: nothing of what the worker would do next may happen here."""
    try:
        process.die_with_parent(parent)
        os.setsid()  # its group is killed as a whole, and Ctrl-C does not reach it
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        pipe.send(None)
        with contextlib.suppress(EOFError):
            channel = reduction.recv_handle(pipe)
            arguments = [*pipe.recv(), f"--channel={channel}"]
            setproctitle(" ".join([*process.command(), *arguments]))  # `ps` shows a horse, not a second worker
            call_command(*arguments)
    except BaseException:
        log.exception("a horse ended by an error of its own")
    finally:
        os._exit(1)


def start_horse(
    lease_id: uuid.UUID, arguments: Sequence[str], channel: int, foal: Foal | None = None
) -> subprocess.Popen[bytes] | Foal:
    """A process that is the horse, with a channel of that number here: the foal, or a program."""
    if foal is not None:
        foal.grow(arguments, channel)
        return foal
    return subprocess.Popen(
        [*process.command(), *arguments, f"--channel={channel}"],
        start_new_session=True,  # its group is killed as a whole, and Ctrl-C does not reach it
        stdin=subprocess.DEVNULL,
        pass_fds=[channel],
        env={
            **os.environ,
            process.MARK: str(lease_id),
        },  # in /proc it is what the program began with, for forks as well
    )
