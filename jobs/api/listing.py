"""GET /api/jobs: filters that combine, in keyset pages."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from jobs import envelope
from jobs.addresses import add_links
from jobs.api import components, paging
from jobs.api.access import identity_of
from jobs.api.base import ApiView
from jobs.api.mounts import base_of
from jobs.api.openapi import Answer, operation, query
from jobs.conf import QUEUE_NAME
from jobs.documents import status_document
from jobs.errors import FieldError, MalformedRequest
from jobs.lifecycle import Status
from jobs.models import IdempotencyKey, Job
from jobs.registry import TYPE_NAME
from jobs.storable import text_problem

PAGE_SIZE, MAX_PAGE_SIZE = 50, 200

Jobs = QuerySet[Job, Any]

CLOCK_MARGIN = dt.timedelta(hours=1)
"""Ids carry the clock of the API process, `created_at` that of the database. Ids narrow the search down to
this margin; `created_at` decides."""


class JobList(ApiView):
    parameters = frozenset(
        ("status", "type", "queue", "tag", "key", "createdAfter", "createdBefore", "pageSize", "cursor")
    )

    @operation(
        "listJobs",
        "List jobs, newest first",
        {200: Answer("A page of jobs.", "JobPage")},
        parameters=[
            query("status", components.STATUS, "Only jobs in this status."),
            query("type", components.TYPE, "Only jobs of this type."),
            query("queue", components.QUEUE, "Only jobs of this queue."),
            query("tag", components.TAG, "Only jobs with this tag."),
            query("key", components.KEY, "Only jobs created under this idempotency key."),
            query("createdAfter", components.TIME, "Only jobs created later than this."),
            query("createdBefore", components.TIME, "Only jobs created before this."),
            query(
                "pageSize",
                {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE, "default": PAGE_SIZE},
                "Jobs a page.",
            ),
            query("cursor", {"type": "string", "pattern": paging.PATTERN}, "`next` or `previous` of an earlier page."),
        ],
    )
    def get(self, request: Request) -> Response:
        parameters = request.query_params.dict()
        size = _page_size(parameters.pop("pageSize", str(PAGE_SIZE)))
        cursor = paging.read(parameters.pop("cursor")) if "cursor" in parameters else None
        jobs = Job.objects.defer("payload", "options")
        identity = identity_of(request)
        if not identity.sees_all:
            jobs = jobs.filter(client=identity.client)
        for name, value in parameters.items():
            jobs = FILTERS[name](jobs, name, value)
        page = paging.page(jobs, size, cursor)
        base = base_of(request._request)
        items = [add_links(status_document(job), base) for job in page.items]
        return Response({"items": items, "next": page.next, "previous": page.previous})


def _page_size(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 4 or not 1 <= int(text) <= MAX_PAGE_SIZE:
        raise _bad("pageSize", f"must be 1 to {MAX_PAGE_SIZE}")
    return int(text)


def _status(jobs: Jobs, name: str, value: str) -> Jobs:
    if value not in list(Status):
        raise _bad(name, f"must be one of {', '.join(Status)}")
    return jobs.filter(status=value)


def _matching(fits: Callable[[str], Any], column: str, expected: str) -> Callable[[Jobs, str, str], Jobs]:
    def narrow(jobs: Jobs, name: str, value: str) -> Jobs:
        if not fits(value):
            raise _bad(name, f"must be {expected}")
        return jobs.filter(**{column: value})

    return narrow


def _key(jobs: Jobs, name: str, value: str) -> Jobs:
    """By the table of keys: jobs have no index of their key, which each change of their status would write to."""
    if not envelope.KEY.fullmatch(value):
        raise _bad(name, "must be 1 to 255 printable ASCII characters")
    return jobs.filter(pk__in=IdempotencyKey.objects.filter(key=value).order_by().values("job_id"))


def _is_tag(text: str) -> bool:
    return 1 <= len(text) <= 64 and text_problem(text) is None


def _created_after(jobs: Jobs, name: str, value: str) -> Jobs:
    moment = _time(name, value)
    return jobs.filter(created_at__gt=moment, pk__gte=_first_id(moment, -CLOCK_MARGIN))


def _created_before(jobs: Jobs, name: str, value: str) -> Jobs:
    moment = _time(name, value)
    return jobs.filter(created_at__lt=moment, pk__lt=_first_id(moment, CLOCK_MARGIN))


def _time(name: str, value: str) -> dt.datetime:
    try:
        if not envelope.RFC_3339.fullmatch(value):
            raise ValueError(value)
        return dt.datetime.fromisoformat(value.upper()).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        raise _bad(name, "must be an RFC 3339 time with an offset, for example 2030-01-31T08:00:00Z") from None


def _first_id(moment: dt.datetime, shift: dt.timedelta) -> uuid.UUID:
    """The smallest UUIDv7 of the moment, shifted; times before 1970 and after 10889 do not exist as ids."""
    milliseconds = int((moment.timestamp() + shift.total_seconds()) * 1000)
    return uuid.UUID(int=min(max(milliseconds, 0), 2**48 - 1) << 80)


def _bad(name: str, detail: str) -> MalformedRequest:
    return MalformedRequest("The query is malformed.", [FieldError("", "bad-parameter", f"{name} {detail}")])


FILTERS: dict[str, Callable[[Jobs, str, str], Jobs]] = {
    "status": _status,
    "type": _matching(TYPE_NAME.fullmatch, "type", "the name of a type"),
    "queue": _matching(QUEUE_NAME.fullmatch, "queue", "the name of a queue"),
    "tag": _matching(_is_tag, "tags__tag", "1 to 64 characters"),
    "key": _key,
    "createdAfter": _created_after,
    "createdBefore": _created_before,
}
