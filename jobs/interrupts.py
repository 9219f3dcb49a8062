"""Interrupting a handler's thread: soft timeouts and cancellation.

An exception is raised in the thread from outside, under the thread's own lock and only while the token
of its present job is set: aimed without that, it hit the next job of the thread 40 times of 40. It
arrives between two steps of Python code; a thread that waits in C gets it when it comes back.
"""

from __future__ import annotations

import contextlib
import ctypes
import queue as queues
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jobs.errors import CancelRequested, Interrupted

NEVER = float("inf")


class Slot:
    """One handler thread: which job it runs, and whether it may be interrupted just now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread_id = 0
        self._token: object | None = None
        self._masked = 0
        self._shielded = 0
        self._fired: type[Interrupted] | None = None
        self._pending: type[Interrupted] | None = None
        self._waker: Callable[[], object] | None = None
        self.connections: Sequence[Callable[[], Any]] = ()
        """Weak references to the database connections of the thread, and of threads that share its context."""

    @property
    def fired(self) -> type[Interrupted] | None:
        """What was raised in the present job, if anything."""
        return self._fired

    def running(self, token: object) -> Slot:
        """The calling thread runs the job of that token: inside of the block it may be interrupted."""
        with self._lock:
            self._thread_id = threading.get_ident()
            self._masked = self._shielded = 0
            self._fired = self._pending = self._waker = None
            self._token = token
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._token = None
            is_fired = self._fired is not None
        if is_fired:
            _settle()

    def interrupt(self, token: object, kind: type[Interrupted]) -> None:
        """Raise `kind` in the thread if it still runs that job; called from other threads. Once a job."""
        with self._lock:
            if self._token is not token or self._fired is not None:
                return
            if self._masked or (self._shielded and kind is CancelRequested):
                self._pending = self._pending or kind
                return
            self._fired = kind
            self._deliver(kind)

    def _deliver(self, kind: type[Interrupted]) -> None:
        """Under the lock, which the job's end takes as well: so the exception reaches no later job of the thread."""
        if self._token is None:
            return
        if self._waker is not None:
            self._waker()
        else:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread_id), ctypes.py_object(kind))

    @contextlib.contextmanager
    def waking(self, waker: Callable[[], object]) -> Iterator[None]:
        """Interrupt by calling `waker` instead: an event loop waits in C, where no exception arrives."""
        with self._lock:
            self._waker = waker
        try:
            yield
        finally:
            with self._lock:
                self._waker = None

    @contextlib.contextmanager
    def masked(self) -> Iterator[None]:
        """Our own commits: nothing interrupts them; what came meanwhile is raised at the end, however that comes."""
        with self._lock:
            self._masked += 1
        _settle()
        try:
            yield
        finally:
            with self._lock:
                self._masked -= 1
            self._raise_pending()

    @contextlib.contextmanager
    def shielded(self) -> Iterator[None]:
        """Inside an effect: a cancel waits until it is over, since an interrupted effect is in doubt."""
        with self._lock:
            self._shielded += 1
        try:
            yield
        finally:
            with self._lock:
                self._shielded -= 1

    @property
    def will_raise(self) -> bool:
        """Inside `masked`: whether something came meanwhile that is raised at its end."""
        with self._lock:
            return self._masked <= 1 and self._may_raise

    @property
    def _may_raise(self) -> bool:
        is_deferred = self._shielded and self._pending is CancelRequested
        return self._pending is not None and not is_deferred and self._fired is None

    def _raise_pending(self) -> None:
        with self._lock:
            kind = self._pending
            if kind is None or self._masked or not self._may_raise:
                return
            self._pending, self._fired = None, kind
            if threading.get_ident() != self._thread_id or self._waker is not None:
                self._deliver(kind)  # the block was one of the handler's other threads or tasks
        raise kind()

    def raise_cancel(self) -> None:
        """Raise a cancel that waited for the end of an effect."""
        self._raise_pending()


def _settle() -> None:
    """Let an exception arrive that was raised before the lock was taken: it comes within a few steps."""
    for _ in range(100):
        pass


class Over:
    """The block of `Watch.over`. A generator would cost each job twice as much."""

    __slots__ = ("_deadlines", "_token")

    def __init__(self, deadlines: dict[object, Any], token: object) -> None:
        self._deadlines = deadlines
        self._token = token

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._deadlines.pop(self._token, None)


class Watch:
    """One thread that interrupts jobs whose time is up.

    No lock: an interrupt that arrives just after one was taken would leave it taken for good.
    """

    def __init__(self) -> None:
        self._deadlines: dict[object, tuple[float, Slot, type[Interrupted]]] = {}
        self._next = NEVER
        """When the thread looks again, unless it is woken."""

        self._wakes: queues.SimpleQueue[None] = queues.SimpleQueue()
        threading.Thread(target=self._loop, name="soft-timeouts", daemon=True).start()

    def over(self, token: object, seconds: float, slot: Slot, kind: type[Interrupted]) -> Over:
        """Interrupt the job of `token` in `seconds`, unless the block was left by then."""
        deadline = time.monotonic() + seconds
        self._deadlines[token] = (deadline, slot, kind)
        if deadline < self._next:
            self._wakes.put(None)
        return Over(self._deadlines, token)

    def _loop(self) -> None:
        while True:
            self._next = NEVER  # who comes while we look wakes us
            now, soonest = time.monotonic(), NEVER
            for token, (deadline, slot, kind) in sorted(self._deadlines.copy().items(), key=lambda item: item[1][0]):
                if deadline > now:
                    soonest = deadline
                    break
                self._deadlines.pop(token, None)
                slot.interrupt(token, kind)
            self._next = soonest
            with contextlib.suppress(queues.Empty):
                self._wakes.get(timeout=min(soonest - now, threading.TIMEOUT_MAX))
