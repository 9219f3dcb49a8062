"""Several workers: N `rqworker` processes that start, stop and die with this one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from jobs import process
from jobs.checks import TAG
from jobs.conf import conf
from jobs.management.base import Lasting, leave_init, write_pid
from jobs.management.commands.rqworker import require_known
from jobs.rq_classes import theirs

CLASSES = ("worker-class", "queue-class", "job-class", "serializer")
"""django-rq's flags, which are handed on."""

RESTART_S = 1.0
"""Seconds before a worker that died is started again."""


class Command(Lasting):
    help = (
        "Run several workers on this machine, one for each core you want to use. "
        "A worker that dies is started again; Ctrl-C or SIGTERM stops all of them warm."
    )
    requires_system_checks = (TAG,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("queues", nargs="*", help="queues, most urgent first (default: JOBS_QUEUES)")
        parser.add_argument("--num-workers", type=int, default=1, help="how many workers (default 1)")
        parser.add_argument("--concurrency", type=int, help="handler threads of each (JOBS_CONCURRENCY)")
        parser.add_argument("--horses", type=int, help="processes that share the threads of each (JOBS_HORSES, or 1)")
        parser.add_argument("--burst", action="store_true", help="end when the queues are empty")
        for name in CLASSES:
            parser.add_argument(f"--{name}", help=f"as for rqworker: {name} of RQ")
        parser.add_argument("--pid", help="write this process' id to a file")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["num_workers"] < 1:
            raise CommandError("--num-workers is at least 1", returncode=2)
        others = theirs(options["queues"])
        require_known(name for name in options["queues"] if name not in others)
        horses = options["horses"] if options["horses"] is not None else conf().horses or 1
        if not 1 <= horses <= 100:
            raise CommandError("--horses is 1 to 100", returncode=2)
        command = [sys.executable, sys.argv[0], "rqworker", *options["queues"]]
        if not (others or options["worker_class"]):  # RQ's worker has no such flag
            command.append(f"--horses={horses}")
        command += [f"--{name}={value}" for name in CLASSES if (value := options[name.replace("-", "_")])]
        command += [f"--concurrency={options['concurrency']}"] if options["concurrency"] else []
        command += ["--burst"] if options["burst"] else []
        leave_init()
        write_pid(options["pid"])
        stopping = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopping.set())
        workers = [_start(command) for _ in range(options["num_workers"])]
        while not stopping.wait(0.1):
            workers = [
                worker if worker.poll() is None else self._replace(worker, command, options) for worker in workers
            ]
            if options["burst"] and all(worker.poll() is not None for worker in workers):
                return
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + conf().stop_grace_s + 10
        for worker in workers:
            try:
                worker.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.kill()

    def _replace(
        self, worker: subprocess.Popen[bytes], command: list[str], options: dict[str, Any]
    ) -> subprocess.Popen[bytes]:
        if options["burst"]:
            return worker
        self.stderr.write(f"worker {worker.pid} ended with {worker.returncode}; starting another one")
        time.sleep(RESTART_S)
        return _start(command)


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    """A worker in a group of its own (Ctrl-C reaches only us) that dies with this process."""
    parent = os.getpid()
    return subprocess.Popen(command, start_new_session=True, preexec_fn=lambda: process.die_with_parent(parent))
