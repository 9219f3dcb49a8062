"""A horse's side of `grant.py`: its share of the worker's threads, and how much it has to do."""

from __future__ import annotations

import contextlib
import os
import queue as queues
import select
import socket
import threading
import time
from typing import Any

from jobs.grant import BUSY, LONGEST, STOP, STOPPING
from jobs.handling import Handlers
from jobs.window import Window

LISTEN_S = 1
"""Seconds between two looks at whether a handler has closed the channel."""

SPAN_S = 0.5
"""Seconds over which a horse looks at its load."""

FULL, LIGHT = 0.7, 0.3
"""Loads, 1.0 being all that one interpreter can do: from the first on a horse is busy, and below the second, of two
horses, one would do without being busy."""


class Share:
    """The horse's side. Belongs to its main thread."""

    def __init__(
        self,
        inbox: queues.SimpleQueue[Any],
        handlers: Handlers,
        window: Window,
        channel: socket.socket | None = None,
        quiet_s: float = 0.0,
    ) -> None:
        """`quiet_s`: seconds of hardly any load after which the horse is no longer needed; 0: it always is."""
        self._inbox, self._handlers, self._window = inbox, handlers, window
        self._channel, self._quiet_s = channel, quiet_s
        self.is_told_to_stop = False
        """Whether the parent has said that it stops this horse."""

        self._has_said_stopping = False
        self._is_owed = False
        """Whether the parent waits to hear that no more threads run than it said."""

        self._since = self._light_since = time.monotonic()
        self._waited_s = self._beside_s = 0.0
        self._ended = 0
        self._inode = 0 if channel is None else os.fstat(channel.fileno()).st_ino
        if channel is not None:
            threading.Thread(target=self._listen, args=(channel,), name="share", daemon=True).start()

    def _listen(self, channel: socket.socket) -> None:
        """Until the parent is gone, or a handler has closed all files: who waits in `recv` would keep the channel open then,
        and the parent would not see its end."""
        poll = select.poll()
        poll.register(channel, select.POLLIN)
        while self._is_open:
            if not poll.poll(LISTEN_S * 1000):
                continue
            message = channel.recv(LONGEST, socket.MSG_DONTWAIT) if self._is_open else b""
            if message == STOP:
                self.is_told_to_stop = True
            elif message:
                self._inbox.put(int(message))
            else:
                return

    @property
    def _is_open(self) -> bool:
        """Whether the channel's file is still the channel: its number may be another file's by now."""
        if self._channel is None:
            return False
        try:
            return os.fstat(self._channel.fileno()).st_ino == self._inode
        except OSError:
            return False

    def wait(self, block: bool, timeout: float) -> Any:
        """The next message; time spent here is time without work. `queue.Empty` as usual."""
        began = time.monotonic()
        try:
            return self._inbox.get(block, timeout)
        finally:
            self._waited_s += time.monotonic() - began

    def take(self, threads: int) -> None:
        self._handlers.resize(threads)
        self._window.resize(threads)
        self._is_owed = True

    def look(self, ended: int, running: int) -> None:
        """After a turn in which so many attempts ended, and so many run."""
        self._ended += ended
        if self._is_owed and self._handlers.is_within:
            self._is_owed = not self._say(b"%d" % self._handlers.count)
        now = time.monotonic()
        if (span_s := now - self._since) < SPAN_S:
            return
        beside_s = time.process_time() - time.thread_time()  # handlers, above all
        load = (span_s - self._waited_s + beside_s - self._beside_s) / span_s
        if load >= FULL and self._ended and self._ended + running > self._handlers.count:
            self._say(BUSY)
        if load >= LIGHT or running:
            self._light_since = now
        self._since, self._beside_s, self._waited_s, self._ended = now, beside_s, 0.0, 0

    def say_stopping(self) -> None:
        """Once a signal has told this horse to stop: the parent counts the grace from then on."""
        if not self._has_said_stopping:
            self._has_said_stopping = self._say(STOPPING)

    def say_last(self, word: bytes) -> None:
        """The last word before the end; waits until the parent has room for it."""
        if self._channel is not None and self._is_open:
            with contextlib.suppress(OSError):
                self._channel.send(word)

    @property
    def is_needless(self) -> bool:
        return bool(self._quiet_s) and time.monotonic() - self._light_since > self._quiet_s

    def _say(self, message: bytes) -> bool:
        """Whether it was sent: a parent that does not read shall not hold up jobs."""
        if self._channel is None:
            return True
        with contextlib.suppress(OSError):
            return self._is_open and bool(self._channel.send(message, socket.MSG_DONTWAIT))
        return False
