"""Group commit: requests that arrive together share one transaction, and none of them needs a thread.

One thread takes what has arrived, commits it, and settles each request's future. The busier it is, the
larger the groups; a lone request is committed at once.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Generic, TypeVar

log = logging.getLogger("jobs.group")

Item = TypeVar("Item")
Result = TypeVar("Result")

LARGEST = 100
"""Requests in one group, give or take those that were offered together: bounds how long the first of them waits."""


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

    def offer(self, item: Item) -> Future[Result]:
        """A future of the item's result; settled once its group is committed.

        It can be cancelled only until its group is taken: then nothing of it is stored.
        """
        self._ensure_thread()
        future: Future[Result] = Future()
        self._waiting.put(Bundle([item], future, is_one=True))
        return future

    def offer_all(self, items: Sequence[Item]) -> Future[Sequence[Result | Exception]]:
        """As `offer` of each, with one future of all results: it costs once what a future costs."""
        self._ensure_thread()
        future: Future[Sequence[Result | Exception]] = Future()
        self._waiting.put(Bundle(items, future))
        return future

    def _ensure_thread(self) -> None:
        if self._pid == os.getpid():
            return
        with self._lock:
            if self._pid != os.getpid():  # first use, or first use in a forked process
                self._waiting = queue.SimpleQueue()
                threading.Thread(target=self._begin, args=(self._waiting,), name=self._name, daemon=True).start()
                self._pid = os.getpid()

    def _begin(self, waiting: queue.SimpleQueue[Bundle[Item, Result]]) -> None:
        with self._around():
            self._loop(waiting)

    def _loop(self, waiting: queue.SimpleQueue[Bundle[Item, Result]]) -> None:
        while True:
            group = [waiting.get()]
            size = len(group[0].items)
            while size < LARGEST:
                try:
                    group.append(waiting.get_nowait())
                except queue.Empty:
                    break
                size += len(group[-1].items)
            self._run([bundle for bundle in group if bundle.future.set_running_or_notify_cancel()])

    def _run(self, group: list[Bundle[Item, Result]]) -> None:
        if not group:
            return
        items = [item for bundle in group for item in bundle.items]
        try:
            results = self._commit(items)
        except BaseException as error:  # whatever it is, every waiting request needs an answer
            for bundle in group:
                bundle.future.set_exception(error)
            return
        at = 0
        for bundle in group:
            bundle.settle(results[at : at + len(bundle.items)])
            at += len(bundle.items)
        try:
            self._after(items, results)
        except Exception:
            log.exception("what follows the commit of a group failed; housekeeping makes up for it")
