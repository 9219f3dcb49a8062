"""How many of its worker's threads a horse may use: what parent and horse tell each other of it, and the parent's side.

The parent says how many threads the horse may use. The horse says when no more than so many run, and whether one
interpreter is too little for what there is to do. Each message is a packet of a socket pair: a number, or a word;
the first one carries the `board.py` on which the horse notes what runs.

The end of a horse means what the horse said before it, never what its exit code says: any handler can end the process
by any code. Only the main loop of a horse says `DRAINED` or `RECYCLE`, and only when no job runs in it.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
import uuid

from jobs.board import Board

BUSY = b"busy"

STOP = b"stop"
"""The parent's word before the signal that stops the horse: without it somebody else sent the signal."""

STOPPING = b"stopping"
"""The horse's word that a signal told it to stop."""

DRAINED, RECYCLE = b"drained", b"recycle"
"""The horse's last word: all is done (stop or burst); please start another one."""

LONGEST = 16
"""Bytes of a message at most."""

HEARD_S = 2.0
"""Seconds for which a horse counts as busy once it said so."""


class Grant:
    """Of one horse after another. The team sets `threads`; `look` is its supervisor's."""

    def __init__(self, threads: int) -> None:
        self._lock = threading.Lock()
        self._threads = self._told = threads
        self._holds = 0
        self._busy_at = float("-inf")
        self._channel: socket.socket | None = None
        self._board = Board()
        self.last_word = b""
        """`DRAINED` or `RECYCLE` once the present horse has said that no job runs in it and that it ends."""

        self.is_stopping = False
        """Whether the present horse has said that a signal told it to stop."""

        self.closed_at: float | None = None
        """Since when (`time.monotonic`) no process has the horse's end of the channel any more."""

    @property
    def threads(self) -> int:
        return self._threads

    @threads.setter
    def threads(self, threads: int) -> None:
        with self._lock:
            self._threads = threads

    @property
    def is_kept(self) -> bool:
        """Whether no more threads can be running than it has."""
        with self._lock:
            return self._holds <= self._threads

    @property
    def is_busy(self) -> bool:
        return time.monotonic() - self._busy_at < HEARD_S

    @property
    def holds(self) -> int:
        """Threads that the present horse may be using; 0: there is none."""
        return self._holds

    def begin(self) -> int:
        """A horse follows: how many threads it begins with."""
        with self._lock:
            self._holds = self._told = self._threads
            return self._told

    def connect(self) -> socket.socket:
        """The horse's end of a new channel, to be closed once it has it."""
        kind = (
            socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_DGRAM
        )  # the second one does not tell of its end
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, kind)
        self._channel.setblocking(False)
        self.last_word, self.is_stopping, self.closed_at = b"", False, None
        self._board = Board.lend(self._channel)
        return theirs

    def running(self) -> set[uuid.UUID]:
        """The jobs that the last horse's threads run, or ran when it died."""
        return self._board.running()

    def begun(self) -> set[uuid.UUID]:
        """The jobs whose handlers the last horse started, as far as their outcomes may not be recorded; and others."""
        return self._board.begun()

    def look(self) -> None:
        """Tell the horse what is new, and hear what it says."""
        assert self._channel is not None
        with self._lock, contextlib.suppress(OSError):  # it may be gone, or stopped with much unread: the next look
            if self._threads != self._told:
                self._holds = max(self._holds, self._threads)
                self._channel.send(b"%d" % self._threads)
                self._told = self._threads
        with contextlib.suppress(OSError):
            while message := self._channel.recv(LONGEST):
                self._hear(message)
            self.closed_at = self.closed_at or time.monotonic()

    def _hear(self, message: bytes) -> None:
        if message == BUSY:
            self._busy_at = time.monotonic()
        elif message == STOPPING:
            self.is_stopping = True
        elif message in (DRAINED, RECYCLE):
            self.last_word = message
        elif message.isdigit() and int(message) == self._told:
            with self._lock:
                self._holds = self._told

    def stop(self) -> None:
        """Tell the horse that the signal that follows is its parent's."""
        assert self._channel is not None
        with contextlib.suppress(OSError):
            self._channel.send(STOP)

    def end(self) -> None:
        """The horse is gone."""
        with self._lock:
            self._holds = 0
        if self._channel is not None:
            self._channel.close()


def channel_of(number: int) -> socket.socket | None:
    """The horse's end, by the number that its parent passed; none when it passed 0."""
    if not number:
        return None
    channel = socket.socket(fileno=number)
    channel.set_inheritable(False)  # handlers start processes of their own
    return channel
