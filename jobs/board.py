"""What the threads of a horse run, in memory that its parent can read when the horse is dead or does not answer.

A horse holds claims that no thread has begun yet, and outcomes that are not recorded yet. Whoever has to say which job
killed it, or is too long, must not blame those; the database does not tell them from the others.
"""

from __future__ import annotations

import itertools
import mmap
import os
import socket
import tempfile
import uuid

THREADS = 1000
"""As many as a worker may have."""

OVER = 2048
"""Places for jobs whose handlers have ended. A horse holds fewer claims than that, so none of them is pushed out before
its outcome is recorded."""

ID_BYTES = 16
NOTHING = bytes(ID_BYTES)
BYTES = (THREADS + OVER) * ID_BYTES


class Board:
    """A place for each thread, with the id of the job that it runs; then a ring of those that ended last."""

    def __init__(self, file: int = -1) -> None:
        """The file's memory, or some of one's own."""
        self._memory = mmap.mmap(file, BYTES)
        self._over = itertools.count()  # threads share it: one step of it is one step of the interpreter

    @classmethod
    def lend(cls, channel: socket.socket) -> Board:
        """The parent's: a new one, which goes to the other end of the channel before all messages."""
        if hasattr(os, "memfd_create"):
            file = os.memfd_create("board")
        else:
            file, name = tempfile.mkstemp()
            os.unlink(name)
        try:
            os.ftruncate(file, BYTES)
            socket.send_fds(channel, [b"board"], [file])
            return cls(file)
        finally:
            os.close(file)

    @classmethod
    def borrow(cls, channel: socket.socket) -> Board:
        """The horse's: the parent's."""
        _, (file,), _, _ = socket.recv_fds(channel, ID_BYTES, 1)
        try:
            return cls(file)
        finally:
            os.close(file)

    def begin(self, thread: int, job_id: uuid.UUID) -> None:
        at = thread * ID_BYTES
        self._memory[at : at + ID_BYTES] = job_id.bytes

    def end(self, job_id: uuid.UUID) -> None:
        """Its handler has ended, and its outcome is about to be handed over; again while that cannot be recorded."""
        at = (THREADS + next(self._over) % OVER) * ID_BYTES
        self._memory[at : at + ID_BYTES] = job_id.bytes

    def rest(self, thread: int) -> None:
        at = thread * ID_BYTES
        self._memory[at : at + ID_BYTES] = NOTHING

    def running(self) -> set[uuid.UUID]:
        """The jobs that threads run at the moment; of a dead horse, that they ran when it died."""
        return self._ids(THREADS)

    def begun(self) -> set[uuid.UUID]:
        """The jobs whose handlers were started, among those that are claimed and not recorded; and others."""
        return self._ids(THREADS + OVER)

    def _ids(self, count: int) -> set[uuid.UUID]:
        places = self._memory[: count * ID_BYTES]
        ids = {places[at : at + ID_BYTES] for at in range(0, len(places), ID_BYTES)} - {NOTHING}
        return {uuid.UUID(bytes=job_id) for job_id in ids}
