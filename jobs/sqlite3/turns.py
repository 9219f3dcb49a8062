"""Turns at a file: one writer at a time, and nobody twice while somebody waits.

Between processes two bytes of a lock file are the locks: the kernel frees them when a process ends, however it ends, and a
forked one does not inherit them. Between the threads of a process, whom the kernel does not tell apart, it is two locks.
In both, who waits holds the first lock until it has the second one; so who has just written, and comes again, stands behind.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
from pathlib import Path
from typing import Any

NEXT, TURN = 0, 1  # the bytes
LOOKS_S = (0.0005, 0.0001)
"""Seconds between two looks at either byte: the kernel would wait without them, but also without end."""


class Turns:
    """The turns at one database, as seen from this process.

    A handler's thread may be interrupted between any two steps. So a thread takes nothing that is not found again
    by `give`: the locks are reentrant ones because those know whose they are.
    """

    def __init__(self, database: Path) -> None:
        mode = database.stat().st_mode & 0o666
        self._file = os.open(f"{database}-turns", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
        self._next, self._turn = threading.RLock(), threading.RLock()
        self._owner = 0
        """The thread that had the turn last."""

    @property
    def is_mine(self) -> bool:
        """Whether this thread has the turn, or something on the way to it."""
        return _is_owned(self._turn) or _is_owned(self._next)

    def take(self, timeout_s: float) -> bool:
        """Wait for the turn; False when it did not come in time. `give` must follow, even if this returns False or raises."""
        deadline = time.monotonic() + timeout_s
        has_come = (
            self._next.acquire(timeout=timeout_s)
            and self._turn.acquire(timeout=max(0.0, deadline - time.monotonic()))
            and self._await(NEXT, deadline)
            and self._await(TURN, deadline)
        )
        if has_come:
            self._owner = threading.get_ident()
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, NEXT)
            self._next.release()
        return has_come

    def give(self) -> None:
        """The turn is over, or all that this thread has of it; it may have nothing."""
        if _is_owned(self._turn):
            fcntl.lockf(self._file, fcntl.LOCK_UN, 2, NEXT)
        for lock in (self._turn, self._next):
            while _is_owned(lock):
                lock.release()

    def take_back(self, thread: int) -> None:
        """The turn of that thread is over, though it did not say so; called by another one."""
        if self._owner == thread:
            with contextlib.suppress(RuntimeError):  # it has given it meanwhile
                self._turn._release_save()  # type: ignore[attr-defined]  # unlike `release`, whoever calls it
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, TURN)

    def _await(self, byte: int, deadline: float) -> bool:
        while True:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
                return True
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    raise
            if time.monotonic() >= deadline:
                return False
            time.sleep(LOOKS_S[byte])


def _is_owned(lock: Any) -> bool:
    """What `threading.Condition` asks a reentrant lock."""
    return bool(lock._is_owned())


_all: dict[Path, Turns] = {}
_making = threading.Lock()


def turns_of(database: Path) -> Turns:
    """One object a process and file: to close a file frees all of its locks that the process has.

    Raises OSError when the lock file cannot be opened.
    """
    with _making:
        if database not in _all:
            _all[database] = Turns(database)
        return _all[database]


def _forget() -> None:
    """In a forked process: whose turn it was stayed behind."""
    global _making
    _making = threading.Lock()
    _all.clear()


os.register_at_fork(after_in_child=_forget)
