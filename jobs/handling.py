"""Handler threads: each runs one attempt after another and puts into the inbox what came of it."""

from __future__ import annotations

import logging
import queue as queues
import threading
import time
from typing import Any

from jobs import isolate
from jobs.commit import Outcome
from jobs.context import JobContext
from jobs.interrupts import Watch
from jobs.lifecycle import End
from jobs.run import ended, is_isolated, run
from jobs.transitions import Claimed

log = logging.getLogger("jobs.horse")

UNSTARTABLE_DELAY_S = 5.0
"""Seconds until an attempt is tried again whose process could not even be started."""


class Handlers:
    def __init__(self, count: int, inbox: queues.SimpleQueue[Any], stopping: threading.Event) -> None:
        self._inbox = inbox
        self._stopping = stopping
        self._tasks: queues.SimpleQueue[tuple[Claimed, JobContext]] = queues.SimpleQueue()
        self._watch = Watch()
        for number in range(count):
            threading.Thread(target=self._loop, name=f"handler-{number}", daemon=True).start()

    def take(self, claimed: Claimed, context: JobContext) -> None:
        """Run an attempt; called by the horse's main thread, and never for more than there are free threads."""
        if is_isolated(claimed.row):
            isolate.prepare()
        log.info("job %s %s attempt %d starts", claimed.row.id, claimed.row.type, claimed.row.attempt)
        self._tasks.put((claimed, context))

    def _loop(self) -> None:
        while True:
            claimed, context = self._tasks.get()
            began = time.monotonic()
            try:
                if is_isolated(claimed.row):
                    result = isolate.run_isolated(claimed, context, self._stopping)
                else:
                    result = run(claimed, context, context.slot, self._watch)
            except BaseException as error:  # starting a process may fail; the thread must not
                log.exception("job %s could not be run", claimed.row.id)
                result = ended(
                    claimed.row, context, End.RAISED, delay_s=UNSTARTABLE_DELAY_S,
                    error_code=type(error).__name__, error_message=str(error),
                )  # fmt: skip
            self._inbox.put(Outcome(result, claimed.row, time.monotonic() - began, context.log.take()))
