"""The web server: API and admin."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from django.core.management.base import CommandParser

from jobs.management.base import Lasting, leave_init
from jobsite import listening
from jobsite.protocol import Protocol

GRACE_S = 10
"""What a request in flight may still take after the order to stop."""

KEEP_ALIVE_S = 65
"""Longer than the usual 60 s of a proxy in front, which must be the one to hang up."""


class Server(uvicorn.Server):
    """Ends with exit code 0 when told to stop: that is no failure."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, self.handle_exit)
        yield


class Command(Lasting):
    help = "Serve the API and the admin, as `up` starts it and as production runs it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
        parser.add_argument(
            "--port", type=int, default=8000, help="port to listen on, 0 for a free one (default: %(default)s)"
        )
        parser.add_argument("--access-log", action="store_true", help="log a line for each request")

    def handle(self, *, host: str, port: int, access_log: bool, **options: Any) -> None:
        leave_init()
        listener = listening.listen(host, port)
        port = listener.getsockname()[1]
        config = uvicorn.Config(
            "jobsite.asgi:application",
            lifespan="off",
            http=Protocol,
            ws="none",
            log_config=None,
            access_log=access_log,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
        )
        listener.listen(config.backlog)  # who takes the greeting at its word is not refused
        where = "" if listening.asked(host) == host else f" (listening on {listening.in_url(host) or '*'}:{port})"
        self.stdout.write(f"Serving on {listening.url(host, port)}{where}")
        self.stdout.flush()  # a pipe would keep it until the end
        if warning := listening.warning(host):
            self.stderr.write(warning)
        Server(config).run(sockets=[listener])
