"""The scheduler: rq-scheduler's shell around our ticker.

django-rq starts it (`RQ["SCHEDULER_CLASS"]`) and tools see its birth and heartbeat under rq-scheduler's
keys; everything else is ours. Redis is not needed: schedules are rows, slots are keys, and several
schedulers may run. It also offers to do the housekeeping, so that retries and delayed jobs go on where
no worker does.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import threading
import time
from types import FrameType
from typing import Any, NoReturn

from django.db import Error as DatabaseError
from django.db import close_old_connections
from rq_scheduler.scheduler import Scheduler as BaseScheduler

from jobs import owner, process, schedules
from jobs.database import be_brief, connection
from jobs.reconcile import Housekeeper

log = logging.getLogger("jobs.scheduler")

BACKOFF_MAX_S = 10.0
"""Longest pause between two tries while the database does not answer."""

LIFE_S = 15
"""Seconds beyond the interval after which a dead scheduler's key disappears, as rq-scheduler has it."""


STOP_S = 5.0
"""How long a stop waits for a turn of housekeeping; every step of it may be broken off."""


class Scheduler(BaseScheduler):  # type: ignore[misc]
    """Ticks every due schedule each `interval` seconds until it is told to stop."""

    def __init__(self, *args: Any, interval: float = 1, name: str | None = None, **kwargs: Any) -> None:
        name = name or f"{socket.gethostname()}.{os.getpid()}.{os.urandom(3).hex()}"
        super().__init__(*args, interval=interval, name=name, **kwargs)
        self._ticker = schedules.Ticker(interval, f"scheduler {name}")
        self._housekeeper = Housekeeper(f"scheduler {name}")
        self._is_stopping = False
        self._is_over = threading.Event()
        self._is_declared_known = False
        self._is_redis_away = False
        self._shown_mark = ""
        self._wake_r, self._wake_w = os.pipe()
        os.set_blocking(self._wake_w, False)

    def run(self, burst: bool = False) -> None:
        """Loop until SIGTERM or SIGINT; a tick that has begun is finished. `burst`: one turn."""
        self._install_signal_handlers()
        process.spare_the_collector()  # a tenth of a large tick
        log.info("scheduler %s started, ticking every %g s", self.name, self._interval)
        # A thread of its own: pushing a whole queue again takes longer than a tick may wait.
        housekeeping = threading.Thread(target=self._keep_house, args=(burst,), name="housekeeping", daemon=True)
        housekeeping.start()
        failures = 0
        be_brief()
        while not self._is_stopping:
            began = time.monotonic()
            failures = 0 if self._turn() else failures + 1
            self._show_life()
            if burst:
                break
            pause_s = min(BACKOFF_MAX_S, 2.0 ** min(failures, 10) / 2) if failures else self._interval
            self._sleep(pause_s - (time.monotonic() - began))
        self._is_over.set()
        housekeeping.join(STOP_S)
        self._show_death()
        connection.close()
        log.info("scheduler %s stopped", self.name)

    def stop(self) -> None:
        """Ask the loop to end; safe in a signal handler: it only sets a flag and wakes the loop."""
        self._is_stopping = True
        try:
            os.write(self._wake_w, b".")
        except BlockingIOError:
            pass  # the pipe is full of wake-ups already

    def _keep_house(self, burst: bool) -> None:
        if burst:
            self._housekeeper.offer()
            connection.close()
        else:
            self._housekeeper.loop(self._is_over)

    def _turn(self) -> bool:
        """One tick; False when the database did not answer."""
        try:
            if not self._is_declared_known:
                self._declare()
            self._ticker.turn()
        except DatabaseError as error:
            log.warning("the database does not answer, trying again: %s", str(error).strip().partition("\n")[0])
            connection.close()
            return False
        except Exception:
            log.exception("a turn of the scheduler failed")
            close_old_connections()
            return False
        return True

    def _declare(self) -> None:
        for sentence in schedules.synchronise():
            log.log(logging.ERROR if "not valid" in sentence else logging.INFO, "%s", sentence)
        self._is_declared_known = True

    # --- what tools see of it in Redis -----------------------------------------------------------

    def _show_life(self) -> None:
        """Keep the birth key of rq-scheduler alive, and write it anew where Redis lost it."""
        life_s = int(self._interval) + LIFE_S
        try:
            owner.refresh()
            if owner.mark() != self._shown_mark or not self.connection.expire(self.key, life_s):
                mark = owner.mark()
                with self.connection.pipeline() as pipe:
                    pipe.hset(self.key, mapping={"birth": time.time(), "hostname": socket.gethostname()})
                    pipe.hset(self.key, mapping={"pid": os.getpid(), owner.FIELD: mark})
                    pipe.expire(self.key, life_s)
                    pipe.execute()
                self._shown_mark = mark
                self._tell_of_foreign_entries()
        except Exception as error:  # whatever a client of Redis raises
            if not self._is_redis_away:
                log.warning("Redis does not answer, schedules go on without it: %s", error or type(error).__name__)
            self._is_redis_away = True
        else:
            self._is_redis_away = False

    def _show_death(self) -> None:
        with contextlib.suppress(Exception):  # the key expires by itself
            self.register_death()

    def _tell_of_foreign_entries(self) -> None:
        if count := self.connection.zcard(self.scheduled_jobs_key):
            log.warning(
                "did not run %d entries in %s: they are rq-scheduler's own. `rqscheduler --queue NAME` runs them,"
                " where NAME is a queue of RQ_QUEUES that JOBS_QUEUES does not have",
                count, self.scheduled_jobs_key,
            )  # fmt: skip

    # --- the loop's pauses and its end -----------------------------------------------------------

    def _install_signal_handlers(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # only a main thread gets signals; whoever runs us in another one calls stop()
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self.stop()

    def _sleep(self, seconds: float) -> None:
        if seconds > 0 and not self._is_stopping:
            select.select([self._wake_r], [], [], seconds)

    # --- rq-scheduler's own way of scheduling ----------------------------------------------------

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(REFUSAL)

    enqueue_at = enqueue_in = schedule = cron = enqueue_job = enqueue_jobs = change_execution_time = _refuse


REFUSAL = (
    "rq-scheduler's own entries can be lost or doubled and are not supported: "
    "use `python manage.py schedules set NAME --type TYPE --every SECONDS` or jobs.submit(…, at=…) instead."
)
