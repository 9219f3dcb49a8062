"""POST of what may be asked of a job: cancel, and retry (the event `rerun`)."""

from __future__ import annotations

from typing import ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from jobs import operate
from jobs.addresses import add_links
from jobs.api.access import identity_of
from jobs.api.base import ApiView
from jobs.api.mounts import base_of
from jobs.api.openapi import JOB_ID, Answer, operation
from jobs.documents import status_document
from jobs.errors import JobNotFound
from jobs.lifecycle import Event
from jobs.models import Job

CHANGED = Answer("The job, changed.", "JobStatus")


class Cancel(ApiView):
    """Cancel a job. A running attempt is asked to stop, which takes as long as its handler lets it."""

    scopes: ClassVar = {"POST": "jobs:cancel"}

    @operation(
        "cancelJob",
        "Cancel a job",
        {200: CHANGED, 202: Answer("A running attempt was asked to stop.", "JobStatus", {"Retry-After": "Seconds."})},
        problems=(404, 409),
        parameters=[JOB_ID],
    )
    def post(self, request: Request, id: str) -> Response:
        job, identity = self.visible_job(request, id), identity_of(request)
        event = operate.cancel(job.pk, actor=identity.actor, who=identity.who)
        if event is Event.REQUEST_CANCEL:
            return Response(_document(request, job), status=202, headers={"Retry-After": "1"})
        return Response(_document(request, job))


class Retry(ApiView):
    """Run a failed or cancelled job again, with fresh allowances of failures and crashes."""

    scopes: ClassVar = {"POST": "jobs:retry"}

    @operation("retryJob", "Run a job again", {200: CHANGED}, problems=(404, 409), parameters=[JOB_ID])
    def post(self, request: Request, id: str) -> Response:
        job, identity = self.visible_job(request, id), identity_of(request)
        operate.rerun(job.pk, actor=identity.actor, who=identity.who)
        return Response(_document(request, job))


def _document(request: Request, job: Job) -> dict[str, object]:
    now = Job.objects.filter(pk=job.pk).first()
    if now is None:  # pruned in this moment
        raise JobNotFound
    return add_links(status_document(now), base_of(request._request))
