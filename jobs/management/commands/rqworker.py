"""A worker: our worker, our queues, and threads; for queues of others django-rq's own command."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.db import DatabaseError
from django_rq.management.commands.rqworker import Command as DjangoRqCommand
from django_rq.queues import get_queue_class
from django_rq.workers import get_exception_handlers, get_worker_class
from rq.serializers import DefaultSerializer, JSONSerializer
from rq.worker.base import BaseWorker

from jobs import queue, queue_names
from jobs.checks import TAG
from jobs.conf import conf
from jobs.management.base import Lasting, leave_init, write_pid
from jobs.rq_classes import stock_class, theirs, with_kept_lists
from jobs.worker import Worker


class Command(Lasting, DjangoRqCommand):
    help = (
        "Run a worker: a process that supervises another one, or several, which run handlers in threads. "
        "Without names it serves all queues of JOBS_QUEUES, most urgent first; a queue that left them can be named "
        "as long as jobs wait in it. For queues that only RQ_QUEUES has it is django-rq's own command, with RQ's "
        "worker. Stop it with Ctrl-C or SIGTERM: "
        "running jobs get JOBS_STOP_GRACE_S seconds to end and are released otherwise; twice stops at once."
    )
    requires_system_checks = (TAG,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)  # type: ignore[no-untyped-call]
        parser.add_argument("--concurrency", type=int, help="handler threads (default: JOBS_CONCURRENCY); 1 to 1000")
        parser.add_argument("--horses", type=int, help="processes that share them (default: JOBS_HORSES); 1 to 100")
        parser.add_argument("--reload", action="store_true", help="restart when Python code changes (development)")
        parser.set_defaults(serializer=None)

    def handle(self, *args: Any, **options: Any) -> None:
        leave_init()
        if options["reload"]:
            run_reloading()
            return
        if options["concurrency"] is not None and not 1 <= options["concurrency"] <= 1000:
            raise CommandError("--concurrency is 1 to 1000", returncode=2)
        if options["horses"] is not None and not 1 <= options["horses"] <= 100:
            raise CommandError("--horses is 1 to 100", returncode=2)
        names = args or conf().queues
        if found := theirs(names):
            self._serve_others(names, found, options)
            return
        require_known(names)
        worker = _worker_of(names, options)
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

    def _serve_others(self, names: Sequence[str], others: Sequence[str], options: dict[str, Any]) -> None:
        """Be django-rq's own command, with RQ's classes, for queues that are not the job system's."""
        if len(others) < len(names):
            ours = " ".join(name for name in names if name not in others)
            raise CommandError(
                f"the queues {ours} are the job system's, and {' '.join(others)} are RQ's own:"
                f" start two workers, rqworker {ours} and rqworker {' '.join(others)}",
                returncode=2,
            )
        if options["concurrency"] or options["horses"]:
            raise CommandError("--concurrency and --horses are for queues of JOBS_QUEUES only", returncode=2)
        _require_none_of_ours(others)
        known = with_kept_lists(others)
        chosen = {
            "worker_class": options["worker_class"] or stock_class("WORKER_CLASS", "rq.Worker"),
            "job_class": options["job_class"] or stock_class("JOB_CLASS", "rq.job.Job"),
            "serializer": options["serializer"] or known[others[0]].get("SERIALIZER") or DefaultSerializer,
        }
        super().handle(*others, **{**options, **chosen})  # type: ignore[no-untyped-call]


def _require_none_of_ours(names: Sequence[str]) -> None:
    """Raise CommandError where our jobs wait in a queue that was given to RQ: its worker cannot read them."""
    try:
        held = [name for name in names if queue_names.holds_open(name)]
    except DatabaseError:
        return  # RQ's worker does not need it
    if held:
        raise CommandError(
            f"jobs of the job system wait in {held[0]}, which is now RQ's own. Give them another queue first:"
            f" python manage.py queues move {held[0]} {conf().queues[0]}",
            returncode=2,
        )


def _worker_of(names: Sequence[str], options: dict[str, Any]) -> BaseWorker:
    """The worker of our queues. Raises CommandError for a class that is not there."""
    connection = queue.patient_broker(5.0)
    try:
        queue_class = get_queue_class(None, options["queue_class"] or queue.RqQueue)
        if issubclass(queue.RqQueue, queue_class):  # RQ's own, which scripts name as they always did
            queue_class = queue.RqQueue
        if not issubclass(queue_class, queue.RqQueue):
            raise CommandError("--queue-class must be jobs.queue.RqQueue or a subclass of it", returncode=2)
        worker_class = get_worker_class(options["worker_class"] or Worker)  # type: ignore[no-untyped-call]
        made: BaseWorker = worker_class(
            [queue_class(name, connection) for name in names],
            connection=connection,
            name=options["name"],
            worker_ttl=options["worker_ttl"],
            job_class=options["job_class"] or queue.RqJob,
            queue_class=queue_class,
            serializer=options["serializer"] or JSONSerializer,
            exception_handlers=get_exception_handlers() or None,  # type: ignore[no-untyped-call]
        )
    except (ImportError, AttributeError, ValueError) as error:
        options_of_classes = "--worker-class, --queue-class, --job-class or --serializer"
        raise CommandError(f"{options_of_classes} names no class that is there: {error}", returncode=2) from None
    return made


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
