"""What load balancers and Prometheus ask for. Open: no key, and nothing about any client's jobs in it."""

from __future__ import annotations

import time
from typing import Any

from django.db import DatabaseError, InterfaceError
from rest_framework.request import Request
from rest_framework.response import Response

from jobs import queue
from jobs.api import metrics
from jobs.api.base import ApiView
from jobs.api.openapi import Answer, operation
from jobs.api.rendering import TextRenderer
from jobs.database import atomic, connection
from jobs.errors import DatabaseUnavailable

READY_FOR_S = 1.0
"""How long an answer of the database stands: nobody can keep it busy by asking whether it is well."""

_ready_until = 0.0


class OpenView(ApiView):
    authentication_classes = ()
    permission_classes = ()
    throttle_classes = ()


class Live(OpenView):
    """The process is up. Asks nothing else, so that an outage of the database restarts no process."""

    @operation("isLive", "Is the process up?", {200: Answer("It is.", "Health")}, is_open=True)
    def get(self, request: Request) -> Response:
        return Response({"status": "live"})


class Ready(OpenView):
    """Able to accept jobs: the database takes a write. Redis is a warning only, since jobs are accepted without it."""

    @operation("isReady", "Can jobs be accepted?", {200: Answer("They can.", "Health")}, is_open=True)
    def get(self, request: Request) -> Response:
        _check_database()
        is_redis_there = queue.is_reachable()
        document: dict[str, Any] = {
            "status": "ready",
            "checks": {"database": "ok", "redis": "ok" if is_redis_there else "unreachable"},
            "warnings": [] if is_redis_there else [REDIS_AWAY],
        }
        return Response(document)


REDIS_AWAY = "Redis does not answer: jobs are accepted and run, but workers find them later."


def _check_database() -> None:
    """Commit a write that changes nothing. Raises DatabaseUnavailable."""
    global _ready_until
    if time.monotonic() < _ready_until:
        return
    try:
        with atomic(), connection.cursor() as cursor:
            cursor.execute("UPDATE jobs_housekeeping SET epoch = epoch WHERE id = 1")
    except (DatabaseError, InterfaceError) as error:
        raise DatabaseUnavailable("The database does not take writes, so no job can be accepted.") from error
    _ready_until = time.monotonic() + READY_FOR_S


class Metrics(OpenView):
    """Statistics and depths in the text format of Prometheus."""

    renderer_classes = (TextRenderer,)

    @operation(
        "getMetrics",
        "Metrics for Prometheus",
        {200: Answer("Metrics.", "Text", media_type="text/plain; version=0.0.4")},
        is_open=True,
    )
    def get(self, request: Request) -> Response:
        return Response(metrics.text())
