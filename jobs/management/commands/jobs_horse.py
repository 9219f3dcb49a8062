"""The process in which a worker's handlers run. Started by `rqworker`; not for people."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from jobs import horse


class Command(BaseCommand):
    help = "The process that runs handlers: started by `manage.py rqworker`, not by hand."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        horse.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        horse.main(options)
