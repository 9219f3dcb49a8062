"""GET of one job: its status, for polling, from the mirror; and everything that is known of it."""

from __future__ import annotations

import datetime as dt
import hashlib
import math
import uuid
from typing import Any, ClassVar

import orjson
from rest_framework.request import Request
from rest_framework.response import Response

from jobs import mirror, why
from jobs.addresses import add_links
from jobs.api.access import identity_of
from jobs.api.base import ApiView, job_id
from jobs.api.mounts import base_of
from jobs.api.openapi import JOB_ID, Answer, header, operation
from jobs.api.replies import Reply
from jobs.api.waiting import NeedsThread, is_in_lane
from jobs.documents import error_document, isotime, status_document
from jobs.errors import JobNotFound
from jobs.lifecycle import FINAL, Status
from jobs.models import Effect, Event, Job, LogLine

LONGEST_PAUSE_S = 60
"""Retry-After of a job that is not due for long: it may be cancelled or promoted at any time."""

MOST_EVENTS, MOST_LINES = 1000, 1000
"""The latest so many events and log lines are shown."""


class JobStatus(ApiView):
    """Where a job stands. Cheap to poll: send the ETag back in If-None-Match.

    It may lag behind by at most five seconds, usually by milliseconds.
    """

    scopes: ClassVar = {"GET": "jobs:read"}

    @operation(
        "getJobStatus",
        "Where a job stands",
        {
            200: Answer("The status.", "JobStatus", {"ETag": "Of this answer.", "Retry-After": "Unless it is final."}),
            304: Answer("Nothing changed since."),
        },
        problems=(404,),
        parameters=[JOB_ID, header("If-None-Match", {"type": "string"}, "The ETag of an earlier answer.")],
    )
    def get(self, request: Request, id: str) -> Response:
        owner, document = self._read(request, job_id(id))
        if not identity_of(request).sees(owner):
            raise JobNotFound
        add_links(document, base_of(request._request))
        return status_reply(document, request.META.get("HTTP_IF_NONE_MATCH", "")).response()

    def _read(self, request: Request, job_id: uuid.UUID) -> tuple[str, dict[str, Any]]:
        if is_in_lane(request._request):
            entry = mirror.peek(job_id)
            if entry is None or not entry.is_fresh:
                raise NeedsThread
            return entry.owner, entry.status
        found = mirror.read_status(job_id)
        if found is None:
            raise JobNotFound
        return found


def status_reply(document: dict[str, Any], if_none_match: str) -> Reply:
    body = orjson.dumps(document)
    tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if document["status"] not in FINAL:
        headers["Retry-After"] = str(_pause_s(document))
    return Reply(304, None, headers) if _is_known(if_none_match, tag) else Reply(200, body, headers)


def _pause_s(document: dict[str, Any]) -> int:
    if document["status"] != Status.SCHEDULED or not document["runAfter"]:
        return 1
    left_s = (dt.datetime.fromisoformat(document["runAfter"]) - dt.datetime.now(dt.UTC)).total_seconds()
    return min(max(1, math.ceil(left_s)), LONGEST_PAUSE_S)


def _is_known(if_none_match: str, tag: str) -> bool:
    """RFC 9110 13.1.2: the weak comparison, a list, or `*`."""
    if not if_none_match:
        return False
    known = [entry.strip().removeprefix("W/") for entry in if_none_match.split(",")]
    return tag in known or known == ["*"]


class JobDetail(ApiView):
    """Everything about a job: payload, events, effects, log, and why it is not over yet."""

    scopes: ClassVar = {"GET": "jobs:read"}

    @operation(
        "getJob",
        "Everything about a job",
        {200: Answer("The job.", "Job")},
        problems=(404,),
        parameters=[JOB_ID],
    )
    def get(self, request: Request, id: str) -> Response:
        return Response(full_document(self.visible_job(request, id), base_of(request._request)))


def full_document(job: Job, base: str) -> dict[str, Any]:
    events = list(Event.objects.filter(job_id=job.pk).order_by("-id")[:MOST_EVENTS])[::-1]
    lines = list(LogLine.objects.filter(job_id=job.pk).order_by("-id")[:MOST_LINES])[::-1]
    return {
        **add_links(status_document(job), base),
        "client": job.client,
        "source": job.source,
        "payload": job.payload,
        "tags": sorted(job.tags.values_list("tag", flat=True)),
        "timeoutSeconds": job.timeout_s,
        "callbackUrl": job.callback_url,
        "cancelRequestedAt": isotime(job.cancel_requested_at),
        "events": [_event(event) for event in events],
        "effects": [_effect(effect) for effect in job.effects.order_by("id")],
        "log": [
            {"attempt": line.attempt, "at": isotime(line.at), "level": line.level, "message": line.message}
            for line in lines
        ],
        "waiting": why.waiting(job),
    }


def _event(event: Event) -> dict[str, Any]:
    return {
        "event": event.event,
        "source": event.source,
        "target": event.target,
        "attempt": event.attempt,
        "actor": event.actor,
        "who": event.who,
        "at": isotime(event.at),
        "runAfter": isotime(event.run_after),
        "error": error_document(event.error_code, _last_line(event.error_text)),
    }


def _last_line(text: str | None) -> str | None:
    """The line that names the error: what stands above it is a traceback, which is for operators."""
    return text and text.strip().rpartition("\n")[2]


def _effect(effect: Effect) -> dict[str, Any]:
    return {
        "name": effect.name,
        "status": effect.status,
        "onDoubt": effect.on_doubt,
        "key": effect.key,
        "attempt": effect.attempt,
        "reservedAt": isotime(effect.reserved_at),
        "endedAt": isotime(effect.ended_at),
        "result": effect.result,
        "error": effect.error,
        "settledBy": effect.settled_by,
        "evidence": effect.evidence,
    }
