"""Frames over a socket between a horse and an attempt in a process of its own.

A frame is its length in four bytes and that many bytes. Neither end waits inside of a frame: a process that was
stopped or killed in the middle of one must not hold up the other.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

LENGTH = struct.Struct("!I")

CHUNK = 65_536
"""Bytes that are read at once."""


class BadFrame(Exception):
    """The other end has sent a frame that is longer than allowed."""


class Wire:
    def __init__(self, end: socket.socket, longest: int) -> None:
        """`longest`: bytes of a frame that is taken."""
        end.setblocking(False)
        self._socket = end
        self._longest = longest
        self._read, self._unsent = bytearray(), bytearray()
        self.is_closed = False
        """Whether no process has the other end any more."""

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def has_unsent(self) -> bool:
        return bool(self._unsent)

    def send(self, frame: bytes) -> None:
        """Send what the other end has room for; `flush` sends the rest."""
        self._unsent += LENGTH.pack(len(frame)) + frame
        self.flush()

    def flush(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent[:CHUNK])]
        except BlockingIOError:
            pass
        except OSError:  # that nobody is there any more, reading tells
            self._unsent.clear()

    def frames(self) -> Iterator[bytes]:
        """The whole frames that have arrived. Raises BadFrame."""
        try:
            while read := self._socket.recv(CHUNK):
                self._read += read
                yield from self._whole()
            self.is_closed = True
        except BlockingIOError:
            pass
        except OSError:
            self.is_closed = True

    def _whole(self) -> Iterator[bytes]:
        while len(self._read) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._read)
            if length > self._longest:
                raise BadFrame(f"a frame of {length} bytes, of at most {self._longest}")
            end = LENGTH.size + length
            if len(self._read) < end:
                return
            frame = bytes(self._read[LENGTH.size : end])
            del self._read[:end]
            yield frame

    def close(self) -> None:
        self._socket.close()
