"""A plain HTTP caller for real servers: no pool, no retries, nothing guessed."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def call(
    base_url: str,
    method: str,
    path: str,
    body: Any = None,
    *,
    key: str | None = None,
    headers: dict[str, str] | None = None,
    timeout_s: float = 15,
) -> Reply:
    """One request. `body` is sent as it is when it is bytes, else as JSON."""
    sent = {"Accept": "application/json", **(headers or {})}
    if key is not None:
        sent.setdefault("Authorization", f"Bearer {key}")
    if body is not None:
        sent.setdefault("Content-Type", "application/json")
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    where = urlsplit(base_url)
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=timeout_s)
    try:
        connection.request(method, path, body=data, headers=sent)
        reply = connection.getresponse()
        return Reply(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())
    finally:
        connection.close()
