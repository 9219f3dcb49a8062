"""Queues by hand: list them, pause and resume them, and give the jobs of one another one."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from jobs import operate, queue_names
from jobs.api import depths
from jobs.management.base import JobsCommand, operator_name


class Command(JobsCommand):
    help = "List, pause and resume queues, and move the open jobs of one to another one."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        verbs.add_parser("list", help="all queues, also those that only hold jobs")
        for verb, does in (("pause", "nothing starts from it; what runs goes on"), ("resume", "it is served again")):
            verbs.add_parser(verb, help=does).add_argument("name", metavar="NAME")
        move = verbs.add_parser("move", help="give all open jobs of a queue another one of JOBS_QUEUES")
        move.add_argument("source", metavar="OLD")
        move.add_argument("target", metavar="NEW")
        verbs.add_parser("unsuspend", help="undo `rq suspend`, which stops all workers of this Redis")
        for one in verbs.choices.values():
            one.add_argument("--json", action="store_true", help="print one JSON document")

    def run(self, **options: Any) -> None:
        getattr(self, f"_{options['verb']}")(**options)

    def _list(self, **options: Any) -> None:
        found = depths.queues()
        if options["json"]:
            self.print_json({"items": found})
            return
        for item in found:
            notes = [f"paused by {item['pausedBy']}"] if item["paused"] else []
            notes += [] if item["listed"] else ["not in JOBS_QUEUES"]
            self.stdout.write(
                f"{item['name']:<20} queued {item['queued']}, running {item['running']}, scheduled {item['scheduled']},"
                f" workers {item['workers']}{''.join(f'; {note}' for note in notes)}"
            )

    def _pause(self, **options: Any) -> None:
        operate.pause_queue(options["name"], operator_name())
        self._tell(options, f"The queue {options['name']} is paused.", name=options["name"], paused=True)

    def _resume(self, **options: Any) -> None:
        operate.resume_queue(options["name"], operator_name())
        self._tell(options, f"The queue {options['name']} is resumed.", name=options["name"], paused=False)

    def _move(self, **options: Any) -> None:
        source, target = options["source"], options["target"]
        count = operate.move_queue(source, target, operator_name())
        is_left = queue_names.holds_open(source)
        said = f"Jobs moved from {source} to {target}: {count}."
        if is_left:
            said += f" Some were busy and stay: run `python manage.py queues move {source} {target}` again."
        self._tell(options, said, moved=count, left=is_left)

    def _unsuspend(self, **options: Any) -> None:
        was_suspended = operate.unsuspend()
        said = "Workers take jobs again." if was_suspended else "Workers were not suspended through RQ."
        self._tell(options, said, changed=was_suspended)

    def _tell(self, options: dict[str, Any], words: str, **facts: Any) -> None:
        self.done = words
        if options["json"]:
            self.print_json(facts)
        else:
            self.stdout.write(words)
