"""A worker: django-rq's command with our worker, our queues, and threads."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import DatabaseError
from django_rq.management.commands.rqworker import Command as DjangoRqCommand
from django_rq.workers import get_worker

from jobs import queue_names
from jobs.checks import TAG
from jobs.conf import conf
from jobs.management.base import Lasting, write_pid
from jobs.worker import Worker


class Command(Lasting, DjangoRqCommand):
    help = (
        "Run a worker: a process that supervises another one, or several, which run handlers in threads. "
        "Without names it serves all queues of JOBS_QUEUES, most urgent first; a queue that left them can be named "
        "as long as jobs wait in it. Stop it with Ctrl-C or SIGTERM: "
        "running jobs get JOBS_STOP_GRACE_S seconds to end and are released otherwise; twice stops at once."
    )
    requires_system_checks = (TAG,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)  # type: ignore[no-untyped-call]
        parser.add_argument("--concurrency", type=int, help="handler threads (default: JOBS_CONCURRENCY); 1 to 1000")
        parser.add_argument("--horses", type=int, help="processes that share them (default: JOBS_HORSES); 1 to 100")
        parser.add_argument("--reload", action="store_true", help="restart when Python code changes (development)")
        parser.set_defaults(serializer="rq.serializers.JSONSerializer")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["reload"]:
            run_reloading()
            return
        if options["concurrency"] is not None and not 1 <= options["concurrency"] <= 1000:
            raise CommandError("--concurrency is 1 to 1000", returncode=2)
        if options["horses"] is not None and not 1 <= options["horses"] <= 100:
            raise CommandError("--horses is 1 to 100", returncode=2)
        names = args or conf().queues
        require_known(names)
        for name in names:  # one that left the settings is served like the first of them
            settings.RQ_QUEUES.setdefault(name, settings.RQ_QUEUES[conf().queues[0]])
        try:
            worker = get_worker(
                *names,
                worker_class=options["worker_class"],
                queue_class=options["queue_class"],
                job_class=options["job_class"],
                name=options["name"],
                worker_ttl=options["worker_ttl"],
                serializer=options["serializer"],
            )
        except (ImportError, AttributeError, ValueError) as error:
            options_of_classes = "--worker-class, --queue-class, --job-class or --serializer"
            raise CommandError(f"{options_of_classes} names no class that is there: {error}", returncode=2) from None
        if isinstance(worker, Worker):
            worker.concurrency, worker.horses = options["concurrency"] or 0, options["horses"] or 0
        elif options["concurrency"] or options["horses"]:
            raise CommandError("--concurrency and --horses go with this project's own worker class only", returncode=2)
        write_pid(options["pid"])
        is_well = worker.work(
            burst=options["burst"],
            with_scheduler=options["with_scheduler"],
            logging_level={0: "WARNING", 1: "INFO"}.get(options["verbosity"], "DEBUG"),
            max_jobs=options["max_jobs"],
            max_idle_time=options["max_idle_time"],
        )
        if isinstance(worker, Worker) and not is_well:
            sys.exit(1)


def require_known(names: Iterable[str]) -> None:
    """Raise CommandError for a queue that JOBS_QUEUES does not name, unless jobs wait in it."""
    try:
        unknown = queue_names.unknown_among(names)
    except DatabaseError as error:
        raise CommandError(f"The database does not answer: {error}") from None
    if unknown:
        raise CommandError(
            f"no such queue: {', '.join(unknown)} (JOBS_QUEUES has {' '.join(conf().queues)}, and no job waits elsewhere)",
            returncode=2,
        )


def run_reloading() -> None:
    """This very command without --reload, started anew whenever Python code changes."""
    import shlex

    from watchfiles import PythonFilter, run_process

    command = shlex.join([sys.executable, *(word for word in sys.argv if word != "--reload")])
    run_process(
        Path.cwd(),
        target=command,
        target_type="command",
        watch_filter=PythonFilter(),
        sigint_timeout=int(conf().stop_grace_s) + 5,
    )
