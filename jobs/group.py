"""Group commit: requests that arrive together share one transaction, and none of them needs a thread.

One thread takes what has arrived, commits it, and settles each request's future. The busier it is, the
larger the groups; a lone request is committed at once. Clients that wait for their answers come back together
with their next requests: so a group waits a moment for as many as were under way last, while some still arrive.
Else they would fall apart into a small and a large group by turns, which cost a commit each.

A second thread watches the first one. A commit that takes too long, or what follows it, is given up: requests that have no
answer yet get an error, and another thread goes on with the next ones. Nobody waits for a thread that died.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from jobs.errors import DatabaseUnavailable

log = logging.getLogger("jobs.group")

Item = TypeVar("Item")
Result = TypeVar("Result")

LARGEST = 100
"""Requests in one group, give or take those that were offered together: bounds how long the first of them waits."""

PAUSE_S = 0.001
"""A group that waits for more is committed when none came for so long,"""

MOST_PAUSES = 5
"""and after so many of them in any case."""

LATE_S = 20.0
"""Seconds after which a commit is given up. A connection whose peer vanished has failed by itself before (15 s)."""

LOOK_S = 1.0
"""Seconds between two looks of the thread that watches."""


class Bundle(Generic[Item, Result]):
    """Items that were offered together, and what tells whoever did."""

    def __init__(self, items: Sequence[Item], future: Future[Any], *, is_one: bool = False) -> None:
        self.items = items
        self.future = future
        self.is_one = is_one
        """Whether the future is of the only item's result, instead of a list of results."""

    def settle(self, results: Sequence[Result | Exception]) -> None:
        if not self.is_one:
            self.future.set_result(results)
        elif isinstance(results[0], Exception):
            self.future.set_exception(results[0])
        else:
            self.future.set_result(results[0])


@dataclass(slots=True)
class _Committer(Generic[Item, Result]):
    """One life of the thread that commits."""

    held: list[Bundle[Item, Result]] = field(default_factory=list)
    """What it has taken and not answered yet."""

    since: float = math.inf
    """When its present commit, or what follows that, began, by the monotonic clock."""

    is_over: bool = False


class Group(Generic[Item, Result]):
    """`commit(items)` gives one result (or exception) an item, in order, and raises only when nothing was stored;
    `after(items, results)` is what may follow once the futures are settled. The thread runs inside `around()`."""

    def __init__(
        self,
        name: str,
        commit: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        after: Callable[[Sequence[Item], Sequence[Result | Exception]], None],
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._name = name
        self._commit = commit
        self._after = after
        self._around = around
        self._waiting: queue.SimpleQueue[Bundle[Item, Result]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._pid = 0
        self._present: _Committer[Item, Result] = _Committer(is_over=True)

    def offer(self, item: Item) -> Future[Result]:
        """A future of the item's result; settled once its group is committed.

        It can be cancelled only until its group is taken: then nothing of it is stored.
        """
        self._ensure_thread()
        future: Future[Result] = Future()
        self._put(Bundle([item], future, is_one=True))
        return future

    def offer_all(self, items: Sequence[Item]) -> Future[Sequence[Result | Exception]]:
        """As `offer` of each, with one future of all results: it costs once what a future costs."""
        self._ensure_thread()
        future: Future[Sequence[Result | Exception]] = Future()
        self._put(Bundle(items, future))
        return future

    def _put(self, bundle: Bundle[Item, Result]) -> None:
        self._waiting.put(bundle)
        self._ensure_thread()  # the one that was there before may have died meanwhile

    def _ensure_thread(self) -> None:
        if self._pid == os.getpid() and not self._present.is_over:
            return
        with self._lock:
            if self._pid != os.getpid():  # first use, or first use in a forked process
                self._waiting = queue.SimpleQueue()
                self._pid = os.getpid()
                self._follow()
            elif self._present.is_over:
                self._follow()

    def _follow(self) -> None:
        """Start the next thread that commits, and the one that watches it. Holds the lock."""
        present: _Committer[Item, Result] = _Committer()
        self._present = present
        for target in (self._begin, self._watch):
            threading.Thread(target=target, args=(present, self._waiting), name=self._name, daemon=True).start()

    def _begin(self, me: _Committer[Item, Result], waiting: queue.SimpleQueue[Bundle[Item, Result]]) -> None:
        try:
            with self._around():
                self._loop(me, waiting)
        except BaseException:
            log.exception("the thread that commits for %s died; the next request starts another one", self._name)
            me.is_over = True
            _fail_open([*me.held, *_drained(waiting)])

    def _watch(self, me: _Committer[Item, Result], waiting: queue.SimpleQueue[Bundle[Item, Result]]) -> None:
        """Give up a commit that takes too long, and have another thread go on with what waits."""
        while not me.is_over:
            time.sleep(LOOK_S)
            with self._lock:
                if me.is_over or time.monotonic() - me.since < LATE_S:
                    continue
                me.is_over = True
                if self._waiting is waiting:
                    self._follow()
            log.error(
                "a commit of %d requests for %s, or what follows it, took over %g s; it was given up",
                len(me.held),
                self._name,
                LATE_S,
            )
            _fail_open(me.held)

    def _loop(self, me: _Committer[Item, Result], waiting: queue.SimpleQueue[Bundle[Item, Result]]) -> None:
        group = me.held
        expected = 1
        while True:
            if not group:
                group.append(waiting.get())
            _fill(group, waiting)
            for _ in range(MOST_PAUSES):
                size = _size(group)
                if size >= min(expected, LARGEST):
                    break
                time.sleep(PAUSE_S)
                _fill(group, waiting)
                if _size(group) == size:
                    break
            taken = [bundle for bundle in group if bundle.future.set_running_or_notify_cancel()]
            group[:] = taken
            me.since = time.monotonic()
            settle = self._committed(taken)
            if not self._goes_on(me, time.monotonic()):
                return
            group = []
            _fill(group, waiting)
            me.held = [*taken, *group]
            expected = _size(me.held)
            settle()
            if not self._goes_on(me, math.inf):
                return
            me.held = group

    def _goes_on(self, me: _Committer[Item, Result], since: float) -> bool:
        """Note since when it is at work. False where it was given up, and another thread has taken over."""
        with self._lock:
            me.since = since
            return not me.is_over

    def _committed(self, group: list[Bundle[Item, Result]]) -> Callable[[], None]:
        """Commit the group. What it returns tells everybody."""
        items = [item for bundle in group for item in bundle.items]
        try:
            results = self._commit(items) if items else []
        except BaseException as error:  # whatever it is, every waiting request needs an answer
            return partial(_fail, group, error)
        return partial(self._settle, group, items, results)

    def _settle(
        self, group: list[Bundle[Item, Result]], items: Sequence[Item], results: Sequence[Result | Exception]
    ) -> None:
        at = 0
        for bundle in group:
            bundle.settle(results[at : at + len(bundle.items)])
            at += len(bundle.items)
        try:
            if items:
                self._after(items, results)
        except Exception:
            log.exception("what follows the commit of a group failed; housekeeping makes up for it")


def _fill(group: list[Bundle[Item, Result]], waiting: queue.SimpleQueue[Bundle[Item, Result]]) -> None:
    """Add what has arrived, as far as there is room."""
    size = _size(group)
    with contextlib.suppress(queue.Empty):
        while size < LARGEST:
            group.append(waiting.get_nowait())
            size += len(group[-1].items)


def _size(group: Sequence[Bundle[Item, Result]]) -> int:
    return sum(len(bundle.items) for bundle in group)


def _drained(waiting: queue.SimpleQueue[Bundle[Item, Result]]) -> list[Bundle[Item, Result]]:
    found: list[Bundle[Item, Result]] = []
    with contextlib.suppress(queue.Empty):
        while True:
            found.append(waiting.get_nowait())
    return found


def _fail_open(group: Sequence[Bundle[Item, Result]]) -> None:
    """Answer those that have no answer: nobody knows whether they are stored."""
    for bundle in group:
        with contextlib.suppress(InvalidStateError):
            bundle.future.set_exception(DatabaseUnavailable("The commit gave no answer. Try again."))


def _fail(group: Sequence[Bundle[Item, Result]], error: BaseException) -> None:
    for bundle in group:
        bundle.future.set_exception(error)
