"""POST /api/jobs and /api/jobs/batch: the HTTP side of the one door in."""

from __future__ import annotations

from typing import Any, ClassVar

import orjson
from rest_framework.request import Request
from rest_framework.response import Response

from jobs import envelope, submission
from jobs.addresses import links
from jobs.api import problems
from jobs.api.access import identity_of
from jobs.api.base import ApiView
from jobs.api.components import KEY
from jobs.api.keys import Identity
from jobs.api.listing import JobList
from jobs.api.mounts import base_of
from jobs.api.openapi import Answer, header, operation
from jobs.api.parsing import body_of, loads
from jobs.api.replies import Reply
from jobs.api.waiting import Awaited, is_in_lane
from jobs.conf import conf
from jobs.envelope import JobRequest
from jobs.errors import FieldError, JobsError, MalformedRequest
from jobs.models import Job
from jobs.submission import Outcome, Submitted

KEY_HEADER = "HTTP_IDEMPOTENCY_KEY"
API_SOURCE = str(Job.Source.API)


class Jobs(JobList):
    """Submit a job, or list jobs."""

    scopes: ClassVar = {"GET": "jobs:read", "POST": "jobs:create"}

    @operation(
        "submitJob",
        "Submit a job",
        {
            202: Answer(
                "A new job.", "JobStatus", {"Location": "Of its status.", "Retry-After": "When to ask for it."}
            ),
            200: Answer(
                "A replay: this key was used for the same request before. The same job, as it is now.",
                "JobStatus",
                {"Location": "Of its status.", "Idempotent-Replayed": "`true`."},
            ),
        },
        problems=(413, 415, 422),
        body="JobRequest",
        parameters=[header("Idempotency-Key", KEY, "Instead of the member `idempotencyKey`.")],
    )
    def post(self, request: Request) -> Response:
        body = body_of(request._request, conf().payload_max_bytes)
        job = read(identity_of(request), body, request.META.get(KEY_HEADER))
        future = submission.offer([job], may_join=not is_in_lane(request._request))
        return Awaited(future, lambda outcomes: end(outcomes, base_of(request._request)).response())


def read(identity: Identity, body: bytes, header_key: str | None) -> JobRequest:
    """What is asked for. Raises what makes a request malformed."""
    return envelope.parse(
        loads(body), client=identity.client, source=API_SOURCE, header_key=header_key, who=identity.who, is_json=True
    )


def end(outcomes: list[Outcome], base: str = "") -> Reply:
    """Answer with links under `base`, the path of the mount that was asked. Raises the JobsError that the outcome may be."""
    (outcome,) = outcomes
    if isinstance(outcome, JobsError):
        raise outcome
    addresses = links(base, outcome.id)
    document, location = _linked(outcome, addresses), addresses["status"]
    if outcome.is_new:
        return Reply(202, document, {"Location": location, "Retry-After": "1"})
    return Reply(200, document, {"Location": location, "Idempotent-Replayed": "true"})


def _linked(outcome: Submitted, addresses: dict[str, str]) -> bytes:
    """The status document with links. That of a row was serialised for the mirror as well, so links are put to its end."""
    if outcome.row is None:
        return orjson.dumps({**outcome.document, "links": addresses})
    return b'%b,"links":%b}' % (outcome.document_json[:-1], orjson.dumps(addresses))


class Batch(ApiView):
    """Submit many jobs in one commit, each with its own key and outcome."""

    scopes: ClassVar = {"POST": "jobs:create"}

    @operation(
        "submitJobs",
        "Submit many jobs",
        {200: Answer("An outcome for each job, in the order of the request.", "BatchAnswer")},
        problems=(413, 415),
        body="Batch",
    )
    def post(self, request: Request) -> Response:
        number, base = problems.request_id(request._request), base_of(request._request)
        items: list[dict[str, Any]] = []
        requests: list[JobRequest] = []
        places: list[int] = []
        for index, body in enumerate(self._jobs(request)):
            parsed = self._parse(request, body)
            if isinstance(parsed, JobsError):
                items.append(_item(parsed, number, base))
            else:
                items.append({})
                requests.append(parsed)
                places.append(index)

        def answer(outcomes: list[Outcome]) -> Response:
            for place, outcome in zip(places, outcomes, strict=True):
                items[place] = _item(outcome, number, base)
            return Response({"items": items})

        return Awaited(submission.offer(requests), answer) if requests else answer([])

    def _jobs(self, request: Request) -> list[Any]:
        """The bodies of the jobs. Raises MalformedRequest when the batch itself has another form."""
        if KEY_HEADER in request.META:
            detail = "a batch has a key for each job: use their member idempotencyKey"
            raise MalformedRequest(detail, [FieldError("", "bad-key", detail)])
        body = self.body(request, conf().batch_max_bytes)
        if not isinstance(body, dict) or not isinstance(body.get("jobs"), list):
            raise MalformedRequest("A batch is {jobs: […]}.", [FieldError("/jobs", "missing", "expected a list")])
        if unknown := [name for name in body if name != "jobs"]:
            detail = f"there is no member {unknown[0][:60]!a}"
            raise MalformedRequest("A batch is {jobs: […]}.", [FieldError("", "unknown-member", detail)])
        found: list[Any] = body["jobs"]
        if len(found) > conf().batch_max_jobs:
            detail = f"at most {conf().batch_max_jobs:,} jobs, not {len(found):,}"
            raise MalformedRequest("The batch is too long.", [FieldError("/jobs", "out-of-bounds", detail)])
        return found

    def _parse(self, request: Request, body: Any) -> JobRequest | JobsError:
        identity = identity_of(request)
        try:
            return envelope.parse(body, client=identity.client, source=API_SOURCE, who=identity.who, is_json=True)
        except JobsError as error:
            return error


def _item(outcome: Outcome, number: str, base: str) -> dict[str, Any]:
    if isinstance(outcome, Submitted):
        return {
            "status": 202 if outcome.is_new else 200,
            "job": orjson.Fragment(_linked(outcome, links(base, outcome.id))),
        }
    problem = problems.of_error(outcome, number)
    return {"status": problem["status"], "problem": problem}
