"""Single requests to a measured server, each thread on a keep-alive connection of its own."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from benchmarks.peers.base import Api
from benchmarks.services import NotMeasured

ANSWER_TIMEOUT_S = 30


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Caller:
    """To be closed when all its threads have their answers."""

    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).netloc
        self._own = threading.local()
        self._connections: list[http.client.HTTPConnection] = []

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def ask(self, method: str, path: str, body: str | None, headers: Mapping[str, str]) -> Answer:
        try:
            connection = self._connection()
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        except (OSError, http.client.HTTPException) as error:
            raise NotMeasured(f"did not answer {method} {path}: {error!r}") from error

    def hang_up(self) -> None:
        """The next request of this thread makes a new connection: servers end those that were idle for a while."""
        self._connection().close()

    def _connection(self) -> http.client.HTTPConnection:
        if not hasattr(self._own, "connection"):
            self._own.connection = http.client.HTTPConnection(self._host, timeout=ANSWER_TIMEOUT_S)
            self._connections.append(self._own.connection)
        connection: http.client.HTTPConnection = self._own.connection
        return connection


class Poster:
    """Posts jobs one by one. To be closed as a Caller is."""

    def __init__(self, api: Api) -> None:
        self._caller = Caller(api.create_url)
        self._path = urlsplit(api.create_url).path
        self._headers = {**api.headers, "content-type": "application/json"}

    def close(self) -> None:
        self._caller.close()

    def post(self, key: str, payload: Mapping[str, Any]) -> None:
        job = {"type": "echo", "payload": payload, "idempotencyKey": key}
        answer = self._caller.ask("POST", self._path, json.dumps(job), self._headers)
        if answer.status != http.client.ACCEPTED:
            raise NotMeasured(f"refused a job with {answer.status}: {answer.body[:300]!r}")
