"""Delete by retention what is no longer kept."""

from __future__ import annotations

import dataclasses
from typing import Any

from django.core.management.base import CommandParser

from jobs import prune
from jobs.management.base import JobsCommand


class Command(JobsCommand):
    help = "Delete finished jobs, keys, statistics, leases and records of dropped slots that are older than their retention."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="count, delete nothing")
        parser.add_argument("--json", action="store_true")

    def run(self, **options: Any) -> None:
        counts = dataclasses.asdict(prune.would_prune() if options["dry_run"] else prune.prune())
        if options["json"]:
            self.print_json(counts)
        else:
            verb = "would delete" if options["dry_run"] else "deleted"
            self.stdout.write(f"{verb} " + ", ".join(f"{count} {name}" for name, count in counts.items()))
