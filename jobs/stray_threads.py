"""Transactions of threads that plain handlers leave behind, ended before they stop others.

SQLite has one write lock. A thread that keeps it when its attempt is over would stop all who write, the renewal of the
lease among them, and jobs that did nothing would pay for it. PostgreSQL ends such a session by itself
(`idle_in_transaction_session_timeout`) and locks rows only.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Collection, Mapping
from typing import Any

from django.db.backends.signals import connection_created

from jobs import process
from jobs.conf import conf

log = logging.getLogger("jobs.horse")

LOOK_S = 0.5
"""Seconds between two looks; there are none while no thread but ours has a connection."""

LONG_SHARE = 1 / 3
"""Share of `lease_s` after which a transaction of any such thread is ended: at 11/15 the whole horse would be."""


class Foreign:
    """A connection to SQLite that a thread of a handler's has made."""

    def __init__(self, connection: Any) -> None:
        self.wrapper = weakref.ref(connection)
        self.thread = threading.get_ident()
        self.name = threading.current_thread().name
        ticks = process.started(os.getpid(), threading.get_native_id())
        self.born = ticks / os.sysconf("SC_CLK_TCK") + time.monotonic() - process.boottime()
        self.since: float | None = None
        """When its present transaction was seen first."""


class StrayThreads:
    def __init__(self, began: Mapping[int, float], ours: Collection[threading.Thread]) -> None:
        """`began`: since when (`time.monotonic`) attempts run in this process; `ours`: the threads that run them."""
        self._began, self._ours = began, ours
        self._lock = threading.Lock()
        self._foreign: list[Foreign] = []
        self._is_watching = False
        connection_created.connect(self._note)

    def _note(self, connection: Any, **_: Any) -> None:
        thread = threading.current_thread()
        if connection.vendor != "sqlite" or thread is threading.main_thread() or thread in self._ours:
            return
        with self._lock:
            self._foreign.append(Foreign(connection))
            if not self._is_watching:
                self._is_watching = True
                threading.Thread(target=self._watch, name="stray-threads", daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(LOOK_S)
            with self._lock:
                self._foreign = [one for one in self._foreign if self._is_to_be_watched(one)]
                if not self._foreign:
                    self._is_watching = False
                    return

    def _is_to_be_watched(self, one: Foreign) -> bool:
        wrapper = one.wrapper()
        raw = None if wrapper is None else wrapper.connection
        if raw is None:
            return False
        try:
            is_open = raw.in_transaction
        except sqlite3.Error:
            return False
        now = time.monotonic()
        one.since = (one.since or now) if is_open else None
        if one.since is None or now == one.since:
            return True
        is_left = not any(began <= one.born for began in list(self._began.values()))
        if not is_left and now - one.since < conf().lease_s * LONG_SHARE:
            return True
        _end(raw, one.thread)
        whose = "that no running attempt started" if is_left else "beside an attempt"
        log.warning("a transaction was rolled back and its connection closed: thread=%s %s, open for %.1f s",
                    one.name, whose, now - one.since)  # fmt: skip
        return False


def _end(raw: Any, thread: int) -> None:
    """From another thread than the connection's: whatever it does next with the connection is an error there."""
    raw.interrupt()
    for end in (sqlite3.Connection.rollback, sqlite3.Connection.close):
        with contextlib.suppress(sqlite3.Error):
            end(raw)
    if turns := getattr(raw, "turns", None):
        turns.take_back(thread)
