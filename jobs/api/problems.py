"""Problem documents (RFC 9457): the one shape of every error that the API answers with.

Owns the words and the shape. `middleware.py` sees to it that answers which were not made by a view
(unknown paths, hosts that are not allowed, crashes) get the same shape.
"""

from __future__ import annotations

import logging
import math
import random
import re
from typing import Any

import orjson
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse
from rest_framework import exceptions
from rest_framework.response import Response

from jobs.api.replies import Reply
from jobs.errors import DatabaseUnavailable, JobsError, TooLarge
from jobs.sql import is_outage

log = logging.getLogger("jobs.api")

MEDIA_TYPE = "application/problem+json"
TYPE = "urn:problem-type:jobs:"

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""What is taken over from a caller's X-Request-Id: it ends up in logs and documents."""

RETRY_AFTER_S = 1
"""For 503: a database that cannot commit is asked again soon, since a restart takes about a second."""

CODES = {
    400: "malformed",
    401: "not-authenticated",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    408: "too-slow",
    413: "too-large",
    415: "unsupported-media-type",
    429: "rate-limited",
    431: "head-too-large",
    500: "internal",
    503: "database-unavailable",
}
"""The code of an error that has none of its own."""

FACTS = {"status": "jobStatus", "allowed": "allowed", "first_used_at": "firstUsedAt", "queues": "queues"}
"""Facts of a JobsError that callers may see, under the names of the API. (`status` is the HTTP status.)"""


def request_id(request: HttpRequest) -> str:
    """The request's id: the caller's own, where it is harmless text, else a new one."""
    known: str | None = getattr(request, "request_id", None)
    if known is None:
        known = request.request_id = id_for(request.META.get("HTTP_X_REQUEST_ID", ""))  # type: ignore[attr-defined]
    return known


def id_for(sent: str) -> str:
    """The id of a request that came with `sent` for one. It need not be hard to guess, so no system call is made for it."""
    return sent if sent and REQUEST_ID.fullmatch(sent) else f"{random.getrandbits(64):016x}"


def document(
    status: int, detail: str, request_id: str, *, code: str = "", errors: Any = (), facts: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The problem document. The title is the same for every occurrence of a code; `detail` tells this one."""
    code = code or CODES.get(status, "error")
    title = code.replace("-", " ").capitalize()
    found: dict[str, Any] = {"type": TYPE + code, "title": title, "status": status, "detail": detail, "code": code}
    if errors:
        found["errors"] = [{name: _printable(text) for name, text in error.items()} for error in errors]
    for name, value in (facts or {}).items():
        if name in FACTS and value is not None:
            found[FACTS[name]] = value
    return {**found, "requestId": request_id}


def of_error(error: JobsError, request_id: str) -> dict[str, Any]:
    """The problem document of an error of our own tree."""
    if error.http_status >= 500 and not isinstance(error, DatabaseUnavailable):
        return document(500, "Something went wrong on our side.", request_id)
    return document(
        error.http_status,
        error.message,
        request_id,
        code=error.code,
        errors=getattr(error, "errors", ()),
        facts=error.facts,
    )


def plain_response(request: HttpRequest, status: int, detail: str) -> HttpResponse:
    """A problem outside of any view."""
    body = orjson.dumps(document(status, detail, request_id(request)))
    return HttpResponse(body, status=status, content_type=MEDIA_TYPE, headers={"Content-Length": str(len(body))})


def handle(exc: Exception, context: dict[str, Any]) -> Response:
    """DRF's exception handler: every exception of a view becomes a problem."""
    return reply(exc, request_id(context["request"]._request)).response()


def reply(exc: Exception, number: str) -> Reply:
    """The answer that an exception of a view becomes."""
    headers: dict[str, str] = {}
    if is_outage(exc):
        log.warning("the database did not answer a request: %s", str(exc).strip().partition("\n")[0])
        exc = DatabaseUnavailable("The database does not answer at the moment. Try again.")
    elif isinstance(exc, RequestDataTooBig):
        exc = TooLarge()
    if isinstance(exc, JobsError):
        found = of_error(exc, number)
        if found["status"] == 503:
            headers["Retry-After"] = str(RETRY_AFTER_S)
    else:
        found, headers = _of_other(exc, number)
    if found["status"] == 500:
        log.error("request %s failed", number, exc_info=exc)
    return Reply(found["status"], found, headers, MEDIA_TYPE)


def _of_other(exc: Exception, number: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Problem and headers of an exception that Django or DRF raised."""
    if isinstance(exc, Http404):
        return document(404, "There is nothing here.", number), {}
    if isinstance(exc, PermissionDenied):
        return document(403, "This is not allowed.", number), {}
    if isinstance(exc, SuspiciousOperation):
        return document(400, "The request is malformed.", number), {}
    if not isinstance(exc, exceptions.APIException):
        return document(500, "Something went wrong on our side.", number), {}
    headers: dict[str, str] = {}
    if auth_header := getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = auth_header
    if (wait := getattr(exc, "wait", None)) is not None:
        headers["Retry-After"] = str(max(1, math.ceil(wait)))
    codes = exc.get_codes()
    code = codes if isinstance(codes, str) and codes in OWN_CODES else ""
    return document(exc.status_code, str(exc.detail), number, code=code), headers


OWN_CODES = frozenset({"bad-key", "missing-scope", "csrf"})
"""Codes of ours among those that DRF's exceptions carry."""


def _printable(text: str) -> str:
    """Names that a caller made up may hold lone surrogates, which no JSON document may."""
    return text.encode("utf-8", "backslashreplace").decode()
