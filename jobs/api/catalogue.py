"""What there is besides jobs and schedules: types, queues, statistics."""

from __future__ import annotations

import datetime as dt
from typing import Any, ClassVar

from django.db.models import Sum
from rest_framework.request import Request
from rest_framework.response import Response

from jobs import operate, queue_names, registry
from jobs.api import components, depths
from jobs.api.access import identity_of
from jobs.api.base import ApiView
from jobs.api.openapi import Answer, in_path, operation, query
from jobs.conf import QUEUE_NAME
from jobs.documents import isotime
from jobs.errors import FieldError, JobNotFound, MalformedRequest, UnknownType
from jobs.models import MinuteStat, clock
from jobs.models.stat import BUCKETS_MS
from jobs.registry import TYPE_NAME, JobType

NAMES = {"queue": QUEUE_NAME, "type": TYPE_NAME}
MAX_MINUTES, MINUTES = 1440, 60
MAX_ROWS = 10_000
"""Rows of statistics in one answer: the latest ones."""

WAIT_COLUMNS = [f"wait_{i}" for i in range(len(BUCKETS_MS) + 1)]
RUN_COLUMNS = [f"run_{i}" for i in range(len(BUCKETS_MS) + 1)]


class JobTypes(ApiView):
    """The registered types of job."""

    scopes: ClassVar = {"GET": "jobs:read"}

    @operation("listJobTypes", "Types of job", {200: Answer("All types, by name.", "JobTypes")})
    def get(self, request: Request) -> Response:
        return Response({"items": [_type(job_type) for job_type in registry.all_types()]})


class OneJobType(ApiView):
    """One type of job, with the JSON Schema of its payload."""

    scopes: ClassVar = {"GET": "jobs:read"}

    @operation(
        "getJobType",
        "One type of job",
        {200: Answer("The type.", "JobType")},
        problems=(404,),
        parameters=[in_path("type", components.TYPE, "The type's name.")],
    )
    def get(self, request: Request, type: str) -> Response:
        try:
            return Response(_type(registry.get(type)))
        except UnknownType:
            raise JobNotFound("No such type.") from None


def _type(job_type: JobType) -> dict[str, Any]:
    backoff = job_type.backoff
    return {
        "name": job_type.name,
        "description": job_type.description,
        "queue": job_type.queue,
        "maxAttempts": job_type.max_attempts,
        "maxCrashes": job_type.max_crashes,
        "timeoutSeconds": job_type.timeout_s,
        "isIsolated": job_type.is_isolated,
        "backoff": {"baseSeconds": backoff.base_s, "capSeconds": backoff.cap_s},
        "payloadSchema": None if job_type.payload is None else job_type.payload.model_json_schema(),
    }


class Queues(ApiView):
    """The queues of the settings, most urgent first, then others that hold open jobs: what waits and runs in each."""

    scopes: ClassVar = {"GET": "jobs:read"}

    @operation("listQueues", "Queues", {200: Answer("All queues.", "Queues")})
    def get(self, request: Request) -> Response:
        return Response({"items": depths.queues()})


class _SetPause(ApiView):
    scopes: ClassVar = {"POST": "queues:manage"}

    def _answer(self, name: str) -> Response:
        for item in depths.queues():
            if item["name"] == name:
                return Response(item)
        raise JobNotFound("No such queue.")  # it left the settings, and its last open job has just ended

    def _check(self, name: str) -> None:
        if not QUEUE_NAME.fullmatch(name) or queue_names.unknown_among([name]):
            raise JobNotFound("No such queue.")


class PauseQueue(_SetPause):
    """Stop taking jobs out of a queue. What runs goes on; jobs are still accepted."""

    @operation(
        "pauseQueue",
        "Pause a queue",
        {200: Answer("The queue.", "Queue")},
        problems=(404,),
        parameters=[in_path("name", components.QUEUE, "The queue's name.")],
    )
    def post(self, request: Request, name: str) -> Response:
        self._check(name)
        operate.pause_queue(name, identity_of(request).who)
        return self._answer(name)


class ResumeQueue(_SetPause):
    """Take jobs out of a queue again."""

    @operation(
        "resumeQueue",
        "Resume a queue",
        {200: Answer("The queue.", "Queue")},
        problems=(404,),
        parameters=[in_path("name", components.QUEUE, "The queue's name.")],
    )
    def post(self, request: Request, name: str) -> Response:
        self._check(name)
        operate.resume_queue(name, identity_of(request).who)
        return self._answer(name)


class Stats(ApiView):
    """Attempts that ended, by minute, queue, type and outcome: counts, sums, and histograms of wait and run."""

    scopes: ClassVar = {"GET": "jobs:read"}
    parameters = frozenset(("minutes", "queue", "type"))

    @operation(
        "getStats",
        "Statistics",
        {200: Answer("The minutes in which something ended, oldest first.", "Stats")},
        parameters=[
            query(
                "minutes",
                {"type": "integer", "minimum": 1, "maximum": MAX_MINUTES, "default": MINUTES},
                "How far to look back.",
            ),
            query("queue", components.QUEUE, "Only this queue."),
            query("type", components.TYPE, "Only this type."),
        ],
    )
    def get(self, request: Request) -> Response:
        parameters = request.query_params.dict()
        end = clock.now()
        start = (end - dt.timedelta(minutes=_minutes(parameters.pop("minutes", str(MINUTES))))).replace(
            second=0, microsecond=0
        )
        for name, value in parameters.items():
            if not NAMES[name].fullmatch(value):
                raise _bad(f"{name} must be the name of a {name}")
        return Response(
            {
                "from": isotime(start),
                "to": isotime(end),
                "bucketsMs": list(BUCKETS_MS),
                "items": _series(start, parameters),
            }
        )


def _minutes(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 5 or not 1 <= int(text) <= MAX_MINUTES:
        raise _bad(f"minutes must be 1 to {MAX_MINUTES:,}")
    return int(text)


def _bad(detail: str) -> MalformedRequest:
    return MalformedRequest("The query is malformed.", [FieldError("", "bad-parameter", detail)])


def _series(start: dt.datetime, filters: dict[str, str]) -> list[dict[str, Any]]:
    """Minute rows, added up over the workers."""
    rows: Any = (
        MinuteStat.objects.filter(minute__gte=start, **filters)
        .values("minute", "queue", "type", "outcome")
        .annotate(**{f"sum_{name}": Sum(name) for name in ("count", "wait_ms", "run_ms", *WAIT_COLUMNS, *RUN_COLUMNS)})
        .order_by("-minute", "-queue", "-type", "-outcome")[:MAX_ROWS]
    )
    return [
        {
            "minute": isotime(row["minute"]),
            "queue": row["queue"],
            "type": row["type"],
            "outcome": row["outcome"],
            "count": row["sum_count"],
            "waitMs": row["sum_wait_ms"],
            "runMs": row["sum_run_ms"],
            "wait": [row[f"sum_{name}"] for name in WAIT_COLUMNS],
            "run": [row[f"sum_{name}"] for name in RUN_COLUMNS],
        }
        for row in reversed(rows)
    ]
