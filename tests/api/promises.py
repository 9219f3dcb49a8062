"""Holds every answer to the API's own description: the status is documented, and the body fits its shape."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from jobs.api.describing import document

PROBLEM = "application/problem+json"


@cache
def described() -> dict[str, Any]:
    """As a reader of /api/schema gets it."""
    found: dict[str, Any] = json.loads(json.dumps(document(), default=str))
    return found


def operation_of(method: str, path: str) -> dict[str, Any] | None:
    path = path.partition("?")[0]
    for template, operations in sorted(described()["paths"].items(), key=lambda item: item[0].count("{")):
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
            found: dict[str, Any] | None = operations.get(method.lower())
            return found
    return None


def validator(shape: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**shape, "components": described()["components"]}, format_checker=FormatChecker())


def check(method: str, path: str, status: int, headers: dict[str, str], body: bytes) -> None:
    """Raises AssertionError where an answer breaks a promise."""
    ours = path.startswith(("/api/", "/health/", "/metrics"))
    media_type = headers.get("content-type", "").partition(";")[0]
    if ours and status >= 400:
        assert media_type == PROBLEM, (method, path, status, media_type, body[:200])
        validator({"$ref": "#/components/schemas/Problem"}).validate(json.loads(body))
        assert json.loads(body)["status"] == status
        assert json.loads(body)["requestId"] == headers["x-request-id"]
        assert status not in (429, 503) or int(headers["retry-after"]) >= 1
        assert status != 401 or headers["www-authenticate"].startswith("Bearer")
    operation = operation_of("GET" if method == "HEAD" else method, path)
    if operation is None or status == 405:
        return
    assert str(status) in operation["responses"], f"{method} {path} answers {status}, which is not documented"
    content = operation["responses"][str(status)].get("content", {})
    if body and media_type == "application/json":
        validator(content[media_type]["schema"]).validate(json.loads(body))
