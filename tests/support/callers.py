"""API clients inside the test's own process: Django's test client with a real API key."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from django.test import Client


def make_key(client: str, scopes: list[str], **options: Any) -> str:
    """A new API key's secret, by the code that production uses."""
    from jobs.api import keys

    return str(keys.create(client, scopes, **options)[1])


class Caller:
    """`caller.post("/api/jobs", {...})`; the answer is Django's test response. `http` is the bare client."""

    SCOPES: ClassVar[list[str]] = [
        "jobs:create",
        "jobs:read",
        "jobs:cancel",
        "jobs:retry",
        "schedules:manage",
        "queues:manage",
    ]

    def __init__(self, name: str, scopes: list[str] | None = None) -> None:
        self.name = name
        self.key = make_key(name, self.SCOPES if scopes is None else scopes)
        self.http = Client(raise_request_exception=False)

    def get(self, path: str, headers: dict[str, str] | None = None) -> Any:
        return self.http.get(path, headers=self._headers(headers))

    def post(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """`body` is sent as it is when it is bytes or text, else as JSON."""
        data = body if isinstance(body, bytes | str) else json.dumps({} if body is None else body)
        return self.http.post(path, data, content_type="application/json", headers=self._headers(headers))

    def _headers(self, more: dict[str, str] | None) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}", **(more or {})}
