"""Run the scheduler. Several may run: each slot gets its job once."""

from __future__ import annotations

import logging
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django_rq.management.commands.rqscheduler import Command as DjangoRqCommand

from jobs import queue
from jobs.checks import TAG
from jobs.conf import conf, rq_queues
from jobs.management.base import Lasting, leave_init, write_pid
from jobs.rq_classes import ours_in_rq
from jobs.scheduler import Scheduler

LEVELS = {0: logging.WARNING, 1: logging.INFO}
RQ_INTERVAL_S = 60
"""django-rq's default."""


class Command(Lasting, DjangoRqCommand):
    help = (
        "Create the jobs of all schedules when they are due. Any number of schedulers may run at once. "
        "With --queue and a queue that only RQ_QUEUES has it is django-rq's own command, for rq-scheduler's entries."
    )
    requires_system_checks = (TAG,)

    def add_arguments(self, parser: CommandParser) -> None:
        """django-rq's flags; the queue and the interval have other defaults."""
        super().add_arguments(parser)  # type: ignore[no-untyped-call]
        parser.set_defaults(interval=None, queue=None)

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["queue"] or conf().queues[0]
        if options["interval"] is not None and options["interval"] < 1:
            raise CommandError("--interval is at least 1 second.", returncode=2)
        leave_init()
        if name not in conf().queues:
            self._serve_others(name, options)
            return
        logging.getLogger("jobs").setLevel(LEVELS.get(options["verbosity"], logging.DEBUG))
        pid_file = write_pid(options["pid"])
        try:
            Scheduler(queue_name=name, interval=options["interval"] or 1, connection=queue.broker()).run()
        finally:
            if pid_file is not None:
                pid_file.unlink(missing_ok=True)

    def _serve_others(self, name: str, options: dict[str, Any]) -> None:
        """Be django-rq's own command, for a queue that is not the job system's."""
        if name not in rq_queues():
            raise CommandError(f"There is no queue {name!r}.", returncode=2)
        if "SCHEDULER_CLASS" in ours_in_rq():
            raise CommandError(
                "RQ['SCHEDULER_CLASS'] is the job system's scheduler, which runs no entries of rq-scheduler. "
                "Take SCHEDULER_CLASS out of RQ.",
                returncode=2,
            )
        super().handle(**{**options, "queue": name, "interval": options["interval"] or RQ_INTERVAL_S})  # type: ignore[no-untyped-call]
