"""The embedded broker, by hand."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from jobsite import broker


class Command(BaseCommand):
    help = "Start or stop the embedded broker, say whether it runs, or print its REDIS_URL."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["start", "stop", "status", "url"])

    def handle(self, *, action: str, **options: Any) -> None:
        if action == "url":
            self.stdout.write(broker.url(settings.DATA_DIR))
            return
        try:
            getattr(self, action)()
        except broker.BrokerError as error:
            raise CommandError(str(error)) from None

    def start(self) -> None:
        if not settings.IS_BROKER_EMBEDDED:
            self.stderr.write("Note: REDIS_URL is set, so nothing here uses the embedded broker.")
        is_new = broker.start(settings.DATA_DIR)
        self.stdout.write("The embedded broker is started." if is_new else "The embedded broker runs already.")

    def stop(self) -> None:
        was_running = broker.stop(settings.DATA_DIR)
        self.stdout.write("The embedded broker is stopped." if was_running else "The embedded broker does not run.")

    def status(self) -> None:
        pid = broker.pid(settings.DATA_DIR)
        if pid is None:
            raise CommandError("The embedded broker does not run; start it with: manage.py broker start")
        self.stdout.write(f"The embedded broker runs (process {pid}) on {broker.socket_path(settings.DATA_DIR)}.")
