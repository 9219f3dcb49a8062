"""Print the lifecycle: the table that the code runs by, and a diagram of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

import jobs
from jobs.lifecycle import FINAL, MEANING, TRANSITIONS, Status
from jobs.management.base import JobsCommand

PAGE = Path("docs/lifecycle.md")


class Command(JobsCommand):
    help = f"Print the lifecycle as table and Mermaid diagram: what {PAGE} holds."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--json", action="store_true")
        what.add_argument("--check", action="store_true", help=f"fail when {PAGE} says something else")

    def run(self, **options: Any) -> None:
        if options["json"]:
            self.print_json(document())
        elif options["check"]:
            path = Path(jobs.__file__).parent.parent / PAGE
            if not path.exists() or path.read_text() != page():
                raise CommandError(f"{PAGE} is out of date: run `python manage.py lifecycle > {PAGE}`.", returncode=1)
            self.stdout.write(f"{PAGE} is up to date.")
        else:
            self.stdout.write(page(), ending="")


def document() -> dict[str, Any]:
    return {
        "statuses": [{"status": s, "means": MEANING[s], "final": s in FINAL} for s in Status],
        "transitions": [
            {"event": t.event, "from": t.sources, "to": t.target, "by": t.actors, "because": t.because}
            for t in TRANSITIONS.values()
        ],
    }


def page() -> str:
    """The text of docs/lifecycle.md."""
    statuses = [f"| `{s}` | {MEANING[s]} |" for s in Status]
    events = [
        f"| `{t.event}` | {_codes(t.sources)} | `{t.target}` | {', '.join(t.actors)} | {t.because} |"
        for t in TRANSITIONS.values()
    ]
    arrows = [f"    {source} --> {t.target}: {t.event}" for t in TRANSITIONS.values() for source in t.sources]
    ends = [f"    {status} --> [*]" for status in FINAL]
    return "\n".join(
        [
            "# Lifecycle of a job",
            "",
            "Printed by `manage.py lifecycle` from the one table in `jobs/lifecycle.py`; a test fails when they differ.",
            "",
            "| status | means |",
            "|---|---|",
            *statuses,
            "",
            "| event | from | to | by | because |",
            "|---|---|---|---|---|",
            *events,
            "",
            "`submit` creates a job in `queued`, or in `scheduled` when it is not due.",
            "How an attempt ends is decided in this order: doubt, succeed, abort, fail, then retry, release, expire.",
            "",
            "`attempt` counts starts of the handler, and nothing else. A worker claims a job a moment before it starts the",
            "handler. If it does not come to that, the claim is undone: the job stands `queued` in its old place, `attempt` is",
            "what it was, the `start` event is deleted, and no `release` follows. Only `version` grows. A cancel that was",
            "requested in that moment becomes a `cancel`. If a machine is lost, nobody saw which handlers had started: then",
            "each job that it had claimed counts as started, and as crashed.",
            "",
            "```mermaid",
            "stateDiagram-v2",
            "    [*] --> queued: submit",
            "    [*] --> scheduled: submit, not due",
            *arrows,
            *ends,
            "```",
            "",
        ]
    )


def _codes(statuses: tuple[Status, ...]) -> str:
    return ", ".join(f"`{status}`" for status in statuses)
