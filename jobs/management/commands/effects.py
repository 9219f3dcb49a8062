"""Side effects in doubt: list them, and settle them with evidence."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from jobs import operate
from jobs.documents import isotime
from jobs.management.base import INVALID, JobsCommand, job_id, operator_name, read_json
from jobs.models import Effect, Job


class Command(JobsCommand):
    help = "List side effects in doubt, and settle them: was it done or not?"

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        listing = verbs.add_parser("list", help="effects whose truth is not known")
        listing.add_argument("--json", action="store_true")
        settle = verbs.add_parser("settle", help="record the truth about one; the job goes on after the last")
        settle.add_argument("job", metavar="JOB")
        settle.add_argument("name", metavar="NAME")
        verdict = settle.add_mutually_exclusive_group(required=True)
        verdict.add_argument("--done", action="store_true", help="it happened: it is not run again")
        verdict.add_argument("--not-done", action="store_true", help="it did not happen: it is run again")
        settle.add_argument("--result", metavar="JSON", help="what a done effect gives to the handler")
        settle.add_argument("--evidence", metavar="TEXT", required=True, help="how you know")
        settle.add_argument("--by", metavar="NAME", help="who settles it (default: your user name)")
        settle.add_argument("--json", action="store_true")

    def run(self, **options: Any) -> None:
        getattr(self, f"_{options['verb']}")(**options)

    def _list(self, **options: Any) -> None:
        doubtful = list(Effect.objects.filter(status=Effect.Status.IN_DOUBT).select_related("job").order_by("id"))
        if options["json"]:
            self.print_json({"items": [_document(effect) for effect in doubtful]})
            return
        for effect in doubtful:
            self.stdout.write(
                f"{effect.job_id}  {effect.name:<20} {effect.job.type:<20} attempt {effect.attempt}"
                f"  in doubt since {isotime(effect.ended_at)}  {(effect.error or '').partition(chr(10))[0]}"
            )
        if not doubtful:
            self.stdout.write("No effect is in doubt.")

    def _settle(self, **options: Any) -> None:
        if options["result"] is not None and not options["done"]:
            raise CommandError("--result goes with --done.", returncode=INVALID)
        if not options["evidence"].strip():
            raise CommandError("--evidence says how you know; it must not be empty.", returncode=INVALID)
        id = job_id(options["job"])
        event = operate.settle(
            id,
            options["name"],
            is_done=options["done"],
            result=None if options["result"] is None else read_json(options["result"], "--result"),
            evidence=options["evidence"],
            who=options["by"] or operator_name(),
        )
        status = Job.objects.values_list("status", flat=True).get(pk=id)
        self.done = f"The effect was settled; the job is {status}."
        if options["json"]:
            self.print_json({"id": str(id), "effect": options["name"], "event": event, "status": status})
        else:
            self.stdout.write(f"settled; the job is {status}")


def _document(effect: Effect) -> dict[str, Any]:
    return {
        "job": str(effect.job_id),
        "type": effect.job.type,
        "name": effect.name,
        "key": effect.key,
        "status": effect.status,
        "attempt": effect.attempt,
        "onDoubt": effect.on_doubt,
        "reservedAt": isotime(effect.reserved_at),
        "inDoubtSince": isotime(effect.ended_at),
        "error": effect.error,
    }
