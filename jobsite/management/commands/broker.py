"""The embedded broker, by hand."""

from __future__ import annotations

import json
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from jobsite import broker


class Command(BaseCommand):
    help = "Start or stop the embedded broker, say whether it runs, or print its REDIS_URL."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["start", "stop", "status", "url"])
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *, action: str, json: bool, **options: Any) -> None:
        self.is_json = json
        try:
            getattr(self, action)()
        except broker.BrokerError as error:
            raise CommandError(str(error)) from None

    def url(self) -> None:
        url = broker.url(settings.DATA_DIR)
        self.tell(url, url=url)

    def start(self) -> None:
        if not settings.IS_BROKER_EMBEDDED:
            self.stderr.write("Note: REDIS_URL is set, so nothing here uses the embedded broker.")
        is_new = broker.start(settings.DATA_DIR)
        words = "The embedded broker is started." if is_new else "The embedded broker runs already."
        self.tell(words, running=True, changed=is_new)

    def stop(self) -> None:
        was_running = broker.stop(settings.DATA_DIR)
        words = "The embedded broker is stopped." if was_running else "The embedded broker does not run."
        self.tell(words, running=False, changed=was_running)

    def status(self) -> None:
        pid = broker.pid(settings.DATA_DIR)
        path = str(broker.socket_path(settings.DATA_DIR))
        if pid is None:
            if self.is_json:
                self.tell("", running=False, pid=None, socket=path)
            raise CommandError("The embedded broker does not run; start it with: python manage.py broker start")
        self.tell(f"The embedded broker runs (process {pid}) on {path}.", running=True, pid=pid, socket=path)

    def tell(self, words: str, **facts: Any) -> None:
        self.stdout.write(json.dumps(facts) if self.is_json else words)
