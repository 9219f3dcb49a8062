"""The RQ worker: registration, heartbeats, commands, suspension and signals for tools that know RQ.

The work itself is the horse's (`horse.py`), kept by the supervisor (`supervise.py`). Nothing here waits
for Redis: RQ's side runs in a thread of its own, and its outage costs visibility only. What of
BaseWorker is overridden, and why, is listed in docs/decisions/.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import threading
import time
import uuid
from typing import Any

import redis
from rq.command import handle_command, parse_payload
from rq.worker.base import BaseWorker

from jobs import operate, owner, process, queue
from jobs.conf import conf
from jobs.database import connection as database
from jobs.errors import JobsError
from jobs.foal import Foal
from jobs.lifecycle import Actor
from jobs.reconcile import Housekeeper
from jobs.rq_classes import theirs
from jobs.supervise import Options
from jobs.team import Team

log = logging.getLogger("jobs.worker")

HEARTBEAT_S = 15.0
"""Seconds between two signs of life in Redis; RQ's keys live for `worker_ttl` + 60."""


class Worker(BaseWorker):
    """`manage.py rqworker`'s worker."""

    concurrency: int = 0
    """Handler threads; 0: what the settings say."""

    horses: int = 0
    """Processes that share them; 0: what the settings say."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options.setdefault("name", f"{socket.gethostname()}.{uuid.uuid4().hex[:8]}")
        options["name"] = options["name"] or f"{socket.gethostname()}.{uuid.uuid4().hex[:8]}"
        super().__init__(*arguments, **options)
        if others := theirs(self.queue_names()):
            raise ValueError(f"this worker serves queues of the job system only, not {', '.join(others)} of RQ_QUEUES")
        self.team: Team | None = None
        self._is_registered = False

    # --- BaseWorker, overridden -------------------------------------------------------------------

    def _set_connection(self, connection: redis.Redis) -> redis.Redis:
        """A pool of our own: RQ would raise the socket timeout of the shared one."""
        return queue.patient_broker(5.0)

    def _set_ip_address(self, connection: redis.Redis) -> None:
        """Redis being down at the start must not be fatal, nor a socket's path that redis-py cannot parse (`=`, a blank)."""
        try:
            super()._set_ip_address(connection)
        except Exception:
            self.ip_address = "unknown"

    def work(
        self,
        burst: bool = False,
        logging_level: str | None = None,
        date_format: str = "",
        log_format: str = "",
        max_jobs: int | None = None,
        max_idle_time: int | None = None,
        with_scheduler: bool = False,
        dequeue_strategy: Any = None,
    ) -> bool:
        """Work until told to stop, or until a burst is done. True when the last horse ended well."""
        if with_scheduler:
            log.info("--with-scheduler is not needed: delayed jobs and retries come from the database")
        self.team = Team(
            Options(
                worker=self.name,
                queue_names=self.queue_names(),
                concurrency=self.concurrency or conf().concurrency,
                is_burst=burst,
                max_jobs=max_jobs or 0,
                max_idle_s=float(max_idle_time or 0),
            ),
            self.horses,
        )
        if process.has_one_thread():
            for supervisor in self.team.supervisors:
                supervisor.foal = Foal()
        self._install_signal_handlers()
        stopping = self.team.stopping
        housekeeper = Housekeeper(self.name)
        if burst:
            housekeeper.offer()
        threads = [
            threading.Thread(target=housekeeper.loop, args=(stopping,), name="housekeeping", daemon=True),
            threading.Thread(target=self._be_visible, args=(stopping,), name="rq", daemon=True),
        ]
        log.info("worker %s serves %s, %s threads", self.name, ", ".join(self.queue_names()),
                 " + ".join(str(supervisor.options.concurrency) for supervisor in self.team.supervisors))  # fmt: skip
        for thread in threads:
            thread.start()
        try:
            exit_code = self.team.run()
        finally:
            stopping.set()
            for thread in threads:
                thread.join(timeout=5)
            self._farewell()
            database.close()
        log.info("worker %s stopped", self.name)
        return exit_code == 0

    def _install_signal_handlers(self) -> None:
        signal.signal(signal.SIGINT, self.request_stop)
        signal.signal(signal.SIGTERM, self.request_stop)

    def request_stop(self, signum: Any, frame: Any) -> None:
        """Only sets flags: no I/O in a signal handler."""
        if self.team is not None:
            self.team.stop()

    request_force_stop = request_stop

    def kill_horse(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """RQ's command `kill-horse`: on purpose, so its jobs are released."""
        if self.team is not None:
            self.team.kill("RQ's command kill-horse")

    def wait_for_horse(self) -> tuple[int | None, int | None, Any]:
        return None, None, None

    @property
    def horse_pid(self) -> int:
        return 0 if self.team is None else self.team.horse_pid

    def run_maintenance_tasks(self) -> None:
        """RQ's clean-up of registries re-queues jobs by itself; ours is `reconcile`."""

    def handle_payload(self, message: Any) -> None:
        """RQ's commands: stopping a job is our cancel; the others are RQ's own."""
        payload = parse_payload(message)
        if payload["command"] not in ("stop-job", "stop-execution"):
            handle_command(self, payload)
            return
        try:
            operate.cancel(uuid.UUID(str(payload.get("job_id"))), actor=Actor.OPERATOR, who="rq stop-job")
        except (ValueError, JobsError) as error:
            log.warning("RQ's command to stop a job was not followed: %s", error)
        finally:
            database.close()

    def teardown(self) -> None:
        """Done by `_farewell`, which does not insist on Redis."""

    # --- RQ's side, in a thread of its own --------------------------------------------------------

    def _be_visible(self, stopping: threading.Event) -> None:
        """Register, listen to commands, give signs of life; register anew whenever Redis has forgotten us."""
        wait_s = 0.0
        while not stopping.wait(wait_s):
            try:
                if not self._is_registered or not self.connection.hexists(self.key, "birth"):
                    self._introduce()
                self.set_state("busy" if self.horse_pid else "starting")
                self.connection.hset(self.key, owner.FIELD, owner.mark())
                self.heartbeat()
                wait_s = HEARTBEAT_S
            except Exception as error:
                if wait_s != 2.0:
                    log.warning("RQ's side of worker %s cannot reach Redis (%s)", self.name, type(error).__name__)
                wait_s = 2.0

    def _introduce(self) -> None:
        self.connection.delete(self.key)  # a left-over under our name would make `register_birth` refuse
        self.register_birth()  # type: ignore[no-untyped-call]
        if not self._is_registered:
            self.subscribe()  # type: ignore[no-untyped-call]
        self._is_registered = True

    def _farewell(self) -> None:
        if not self._is_registered:
            return
        with contextlib.suppress(Exception):
            self.register_death()  # type: ignore[no-untyped-call]
            self.unsubscribe()  # type: ignore[no-untyped-call]

    def _pubsub_exception_handler(self, exc: Exception, pubsub: Any, pubsub_thread: Any) -> None:
        """Keep listening through an outage, quietly: `_be_visible` has said it."""
        if isinstance(exc, queue.OUTAGE):
            time.sleep(2.0)
        else:
            log.warning("RQ's commands are no longer heard: %s", exc)
            raise exc


def perform(job_id: str) -> None:
    """What RQ's job hash names: run one attempt of the job, under any stock RQ worker. Never raises.

    This process is then the parent of one horse for that attempt alone, with lease and dead-man timer.
    """
    try:
        options = Options(
            worker=f"rq.{socket.gethostname()}.{uuid.uuid4().hex[:8]}", queue_names=list(conf().queues), concurrency=1,
            kind="stock", only=uuid.UUID(job_id),
        )  # fmt: skip
        Team(options).run()
    except Exception:
        log.exception("job %s could not be run; it stays queued, and housekeeping delivers it again", job_id)
    finally:
        database.close()
