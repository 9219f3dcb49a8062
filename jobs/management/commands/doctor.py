"""Does everything that jobs need do its work?"""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import CommandParser

from jobs import doctor
from jobs.management.base import JobsCommand

MARKS = {"ok": "ok  ", "warning": "warn", "failure": "FAIL"}


class Command(JobsCommand):
    help = (
        "Try what workers do with database and Redis, and look at settings, workers, schedules, clocks, effects and mail. "
        "One line for each finding, with its fix; exit code 1 when something fails."
    )
    requires_system_checks = []  # the probe of the settings runs them, and the others go on

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def run(self, **options: Any) -> None:
        findings = doctor.run_all()
        is_healthy = all(finding.level != "failure" for finding in findings)
        if options["json"]:
            document = {"healthy": is_healthy, "findings": [finding.as_dict() for finding in findings]}
            self.stdout.write(json.dumps(document, indent=2))
        else:
            for finding in findings:
                self.stdout.write(self.line(finding))
        self.stdout.flush()
        if not is_healthy:
            sys.exit(1)

    def line(self, finding: doctor.Finding) -> str:
        style = {"ok": self.style.SUCCESS, "warning": self.style.WARNING, "failure": self.style.ERROR}[finding.level]
        name = "" if finding.level == "ok" else f" [{finding.name}]"
        fix = f" -> {finding.fix}" if finding.fix else ""
        return f"{style(MARKS[finding.level])} {finding.probe}{name}: {finding.sentence}{fix}"
