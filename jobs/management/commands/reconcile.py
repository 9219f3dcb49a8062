"""Repair now: one full turn of housekeeping, without waiting for the loops."""

from __future__ import annotations

import dataclasses
from typing import Any

from django.core.management.base import CommandParser

from jobs import reconcile
from jobs.management.base import JobsCommand


class Command(JobsCommand):
    help = "Promote due jobs, expire dead leases, push what Redis lost, mend the mirror: now."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true")

    def run(self, **options: Any) -> None:
        report = dataclasses.asdict(reconcile.reconcile(is_thorough=True))
        if options["json"]:
            self.print_json(report)
        else:
            self.stdout.write(", ".join(f"{name} {count}" for name, count in report.items()))
