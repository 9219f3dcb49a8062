"""Everything on one machine, from one command."""

from __future__ import annotations

import argparse
import os
import signal
import threading
import time
import urllib.request
from collections.abc import Sequence
from functools import partial
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser

from jobs.management.base import Lasting, leave_init
from jobsite import broker, development, listening, reloading
from jobsite.supervisor import Child, Printer, Supervisor, manage

PARTS = ("api", "worker", "scheduler")
READY_TIMEOUT_S = 60
NAME = "up"


class Command(Lasting):
    help = "Migrate, start the broker, then API, worker and scheduler in the foreground. Ctrl-C stops them warm."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--port",
            type=int,
            default=8000,
            help="port of the API and the admin, 0 for a free one (default: %(default)s)",
        )
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
        parser.add_argument(
            "--only", type=_parts, default=PARTS, help="a comma-separated choice of api,worker,scheduler"
        )
        parser.add_argument("--workers", type=int, default=1, help="number of workers (default: %(default)s)")
        parser.add_argument("--no-reload", action="store_true", help="do not restart when the code changes")
        parser.add_argument("--no-demo", action="store_true", help="leave out the type `echo`")

    def handle(self, *, host: str, port: int, only: Sequence[str], workers: int, **options: Any) -> None:
        leave_init()
        if "api" in only:
            with listening.listen(host, port) as probe:  # a port that is taken is said here; 0 becomes a free one
                port = probe.getsockname()[1]
        children = _children(only, host, port, workers)
        self.say = Printer(self.stdout, [NAME, *(child.name for child in children)])
        # Said to the children alone: this process runs no jobs.
        environment = {**os.environ, "JOBS_DEMO": "0" if options["no_demo"] else "1"}
        supervisor = Supervisor(children, environment, self.say)
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, lambda *_: supervisor.stop())
        started_broker = self.start_broker()
        try:
            self.say(NAME, "bringing the database up to date")
            url = listening.url(host, port) if "api" in only else None
            with broker.locked(settings.DATA_DIR):  # another `up` may have been started in the same moment
                call_command("migrate", interactive=False, verbosity=0)
                lines = development.introduction(listening.origin(host, port)) if url else []
            if url and (warning := listening.warning(host)):
                self.say(NAME, warning)
            self.name = listening.allowed_host(host)
            self.run(supervisor, url, lines, only, is_reloading=not options["no_reload"])
        finally:
            if started_broker:
                self.stop_broker()

    def start_broker(self) -> bool:
        """True when it is ours to stop: one that ran before stays, unless an `up` that was killed has left it."""
        if not settings.IS_BROKER_EMBEDDED:
            return False
        try:
            is_new = broker.start(settings.DATA_DIR)
        except broker.BrokerError as error:
            raise CommandError(str(error)) from None
        self.say(NAME, f"the broker {'is started' if is_new else 'runs already'}: {broker.url(settings.DATA_DIR)}")
        return broker.adopt(settings.DATA_DIR, is_new=is_new)

    def stop_broker(self) -> None:
        try:
            broker.stop(settings.DATA_DIR)
        except broker.BrokerError as error:
            raise CommandError(str(error)) from None
        self.say(NAME, "the broker is stopped")

    def run(
        self, supervisor: Supervisor, url: str | None, lines: list[str], only: Sequence[str], *, is_reloading: bool
    ) -> None:
        """Until told to stop. What happens beside the children runs in threads that only report."""
        stopped = threading.Event()
        threading.Thread(target=self.announce, args=(url, lines, only, stopped), daemon=True).start()
        if is_reloading:
            told = (supervisor.restart, partial(self.say, NAME), stopped)
            threading.Thread(target=reloading.follow, args=told, daemon=True).start()
        try:
            supervisor.run()
        finally:
            stopped.set()

    def announce(self, url: str | None, lines: list[str], only: Sequence[str], stopped: threading.Event) -> None:
        """Say how to use it, and `ready` once it can be used."""
        if url and not _becomes_ready(f"{url}/health/ready", self.name, stopped):
            if not stopped.is_set():
                self.say(NAME, f"the API is not ready after {READY_TIMEOUT_S} s; see its lines above")
            return
        for line in (*lines, f"ready: {', '.join(only)}. Ctrl-C stops everything."):
            self.say(NAME, line)


def _parts(text: str) -> tuple[str, ...]:
    chosen = [part.strip() for part in text.split(",") if part.strip()]
    unknown = sorted(set(chosen) - set(PARTS))
    if unknown or not chosen:
        raise argparse.ArgumentTypeError(f"takes a choice of {','.join(PARTS)}, not {text!r}")
    return tuple(part for part in PARTS if part in chosen)


def _children(only: Sequence[str], host: str, port: int, workers: int) -> list[Child]:
    if workers < 1:
        raise CommandError("--workers must be at least 1.")
    names = ["worker"] if workers == 1 else [f"worker-{number}" for number in range(1, workers + 1)]
    every = {
        "api": [Child("api", manage("serve", "--host", host, "--port", str(port)))],
        "worker": [Child(name, manage("rqworker")) for name in names],
        "scheduler": [Child("scheduler", manage("rqscheduler"))],
    }
    return [child for part in only for child in every[part]]


def _becomes_ready(url: str, name: str | None, stopped: threading.Event) -> bool:
    """Ask under a name that ALLOWED_HOSTS has, which need not be the address."""
    request = urllib.request.Request(url, headers={"Host": name} if name else {})  # noqa: S310 - our own address
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not stopped.is_set() and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(request, timeout=2):  # noqa: S310 - our own address
                return True
        except OSError:  # not up yet, or not ready yet
            stopped.wait(0.1)
    return False
