"""Run the scheduler. Several may run: each slot gets its job once."""

from __future__ import annotations

import logging
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django_rq import get_scheduler
from django_rq.management.commands.rqscheduler import Command as DjangoRqCommand

from jobs.checks import TAG
from jobs.management.base import Lasting, write_pid

LEVELS = {0: logging.WARNING, 1: logging.INFO}


class Command(Lasting, DjangoRqCommand):
    help = "Create the jobs of all schedules when they are due. Any number of schedulers may run at once."
    requires_system_checks = (TAG,)

    def add_arguments(self, parser: CommandParser) -> None:
        """django-rq's flags; only the interval has another default."""
        super().add_arguments(parser)  # type: ignore[no-untyped-call]
        parser.set_defaults(interval=1)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["interval"] < 1:
            raise CommandError("--interval is at least 1 second.", returncode=2)
        logging.getLogger("jobs").setLevel(LEVELS.get(options["verbosity"], logging.DEBUG))
        pid_file = write_pid(options["pid"])
        try:
            get_scheduler(name=options["queue"], interval=options["interval"]).run()
        except KeyError:
            raise CommandError(f"There is no queue {options['queue']!r}.", returncode=2) from None
        finally:
            if pid_file is not None:
                pid_file.unlink(missing_ok=True)
