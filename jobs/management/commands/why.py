"""Why a job is not running, in one sentence, and what to do about it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from jobs import why
from jobs.errors import JobNotFound
from jobs.lifecycle import MEANING, Status
from jobs.management.base import JobsCommand, job_id
from jobs.models import Job


class Command(JobsCommand):
    help = "Say why a job is not running, and what to do about it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", metavar="ID")
        parser.add_argument("--json", action="store_true")

    def run(self, **options: Any) -> None:
        job = Job.objects.filter(pk=job_id(options["id"])).first()
        if job is None:
            raise JobNotFound(f"there is no job {options['id']!r}; it may have been pruned")
        waiting = why.waiting(job)
        if options["json"]:
            self.print_json({"id": str(job.id), "status": job.status, "waiting": waiting})
            return
        self.stdout.write(f"{job.type} {job.id} is {job.status}: {MEANING[Status(job.status)]}.")
        if waiting:
            self.stdout.write(waiting["sentence"])
            self.stdout.write(waiting["nextStep"])
        elif job.error_message:
            self.stdout.write(f"{job.error_code}: {job.error_message}")
