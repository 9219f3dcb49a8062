"""The system producer: one job from the command line, through the same door as the API, without HTTP."""

from __future__ import annotations

import math
import time
from typing import Any

import orjson
from django.core.management.base import CommandError, CommandParser
from django.db import Error as DatabaseError

from jobs import envelope, mirror, submission
from jobs.addresses import add_links, mounted_at
from jobs.database import connection
from jobs.lifecycle import FINAL, Status
from jobs.management.base import INVALID, JobsCommand, operator_name, read_json
from jobs.models import Job, clock
from jobs.submission import Submitted

ENDED_BADLY, WAITED_TOO_LONG = 4, 5

CLIENT = "system"
WAIT_S = 300.0
"""What --wait without a number waits: the default timeout of one attempt."""

POLL_S = 0.1


class Command(JobsCommand):
    help = (
        "Submit a job by the rules of the API. Without TYPE: the maintenance job, once for the current UTC hour. "
        "Exit codes: 0 created or replayed, 2 invalid, 3 the key was used for another request, "
        "4 the job ended badly (--wait), 5 waited too long (--wait)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("type", nargs="?", metavar="TYPE")
        parser.add_argument("--payload", metavar="JSON", help="JSON, @file, or - for stdin")
        parser.add_argument("--key", help="idempotency key: the same request under it creates one job")
        parser.add_argument("--queue", metavar="Q")
        due = parser.add_mutually_exclusive_group()
        due.add_argument("--delay", type=float, metavar="S", help="run in so many seconds")
        due.add_argument("--at", metavar="ISO", help="run at a time, RFC 3339 with an offset")
        parser.add_argument(
            "--wait", type=float, nargs="?", const=WAIT_S, metavar="S",
            help=f"wait until the job is over, at most S seconds (default {WAIT_S:.0f})",
        )  # fmt: skip
        parser.add_argument("--dry-run", action="store_true", help="check everything, store nothing")
        parser.add_argument("--json", action="store_true", help="print the status document")

    def run(self, **options: Any) -> None:
        wait_s = options["wait"]
        if wait_s is not None and not (math.isfinite(wait_s) and wait_s >= 0):
            raise CommandError("--wait takes a number of seconds, 0 or more.", returncode=INVALID)
        request = envelope.parse(
            _body(options), client=CLIENT, source=Job.Source.COMMAND, who=f"{CLIENT} ({operator_name()})"
        )
        if options["dry_run"]:
            self._tell_dry_run(request, submission.dry_run(request), options["json"])
            return
        (outcome,) = submission.submit_many([request])
        if not isinstance(outcome, Submitted):
            raise outcome
        self.done = f"The job {outcome.id} was {'created' if outcome.is_new else 'there already'}."
        document = orjson.loads(orjson.dumps(outcome.document))
        if wait_s is None:
            self._tell(document, "created" if outcome.is_new else "replayed", options["json"])
        else:
            self._wait(outcome, document, wait_s, options["json"])

    def _wait(self, submitted: Submitted, document: dict[str, Any], wait_s: float, as_json: bool) -> None:
        deadline = time.monotonic() + wait_s
        while not _is_over(document) and time.monotonic() < deadline:
            time.sleep(POLL_S)
            document = _read(submitted) or document
        self._tell(document, "is", as_json)
        if not _is_over(document):
            raise CommandError(f"Waited {wait_s:g} s; the job is {document['status']}.", returncode=WAITED_TOO_LONG)
        if document["status"] != Status.SUCCEEDED:
            raise CommandError(_bad_end(document), returncode=ENDED_BADLY)

    def _tell(self, document: dict[str, Any], what: str, as_json: bool) -> None:
        if as_json:
            self.print_json(add_links(document, mounted_at()))
        elif what == "is":
            self.stdout.write(f"{document['type']} {document['id']} is {document['status']}")
        else:
            self.stdout.write(f"{what} {document['type']} {document['id']} ({document['status']})")

    def _tell_dry_run(self, request: envelope.JobRequest, known: Submitted | None, as_json: bool) -> None:
        if as_json:
            self.print_json({"valid": True, "type": request.type, "replayOf": known and str(known.id)})
        elif known is not None:
            self.stdout.write(f"valid; it would be answered with job {known.id}, which has this key")
        else:
            self.stdout.write("valid; a new job would be created. Nothing was stored.")


def _body(options: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": options["type"],
        "payload": None if options["payload"] is None else read_json(options["payload"], "--payload"),
        "idempotencyKey": options["key"],
        "queue": options["queue"],
        "delaySeconds": options["delay"],
        "runAt": options["at"],
    }
    if body["type"] is None:
        hour = clock.now().strftime("%Y-%m-%dT%H")
        body |= {"type": "maintenance", "idempotencyKey": options["key"] or f"maintenance:{hour}"}
    return {name: value for name, value in body.items() if value is not None}


def _read(submitted: Submitted) -> dict[str, Any] | None:
    """The job's present status; None while the database does not answer."""
    try:
        found = mirror.read_status(submitted.id)
    except DatabaseError:
        connection.close()
        return None
    return found[1] if found else None


def _is_over(document: dict[str, Any]) -> bool:
    """In doubt counts too: what follows is a person's business."""
    return document["status"] in (*FINAL, Status.IN_DOUBT)


def _bad_end(document: dict[str, Any]) -> str:
    if document["status"] == Status.IN_DOUBT:
        return f"The job is in doubt about a side effect: see `python manage.py effects list` and `python manage.py why {document['id']}`."
    error = document["error"]
    return f"The job {document['status']}." if error is None else f"The job {document['status']}: {error['message']}"
