"""Two ways to the API that have to answer alike: Django's handler, and the fast lane in front of threads."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from django.core.wsgi import get_wsgi_application
from django.db import connections
from django.test import Client

from jobs.api.lane import App, lane
from jobsite.threads import THREADS, ThreadedApp
from tests.api import promises
from tests.support.callers import Caller, make_key


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Of a problem; '' where it is none."""
        return str(self.json().get("code", "")) if self.status >= 400 else ""


class DjangoTransport:
    def __init__(self) -> None:
        self.http = Client(raise_request_exception=False)

    def send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        content_type = headers.get("Content-Type", "")
        response: Any = self.http.generic(method, path, body, content_type=content_type, headers=headers)
        return Answer(response.status_code, {n.lower(): v for n, v in response.items()}, response.content)


class LaneTransport:
    """The ASGI application of production, called on an event loop in a thread of its own."""

    def __init__(self) -> None:
        self.threads = ThreadedApp(get_wsgi_application())
        self.app: App = lane(self.threads)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="loop", daemon=True)
        self.thread.start()

    def close(self) -> None:
        """Close the connections that its threads keep."""
        together = threading.Barrier(THREADS)

        def close_one(_: int) -> None:
            together.wait(10)  # so that each thread gets one of these
            connections.close_all()

        list(self.threads.pool.map(close_one, range(THREADS)))
        self.threads.pool.shutdown()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    def send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        return self.run(self.answer(method, path, [body], headers))

    def run(self, call: Coroutine[Any, Any, Answer], timeout_s: float = 30) -> Answer:
        return asyncio.run_coroutine_threadsafe(call, self.loop).result(timeout_s)

    async def answer(self, method: str, path: str, chunks: list[bytes], headers: dict[str, str]) -> Answer:
        """`chunks` are the pieces in which the body arrives; a stated length is up to the headers."""
        raw_path, _, query = path.partition("?")
        sent = {"host": "testserver", **{name.lower(): value for name, value in headers.items()}}
        if len(chunks) == 1:
            sent.setdefault("content-length", str(len(chunks[0])))
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(raw_path),
            "raw_path": raw_path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in sent.items()],
            "client": ("127.0.0.1", 1),
            "server": ("testserver", 80),
        }
        waiting = [
            {"type": "http.request", "body": chunk, "more_body": index < len(chunks) - 1}
            for index, chunk in enumerate(chunks)
        ]
        messages: list[Any] = []

        async def receive() -> Any:
            return waiting.pop(0) if waiting else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            messages.append(message)

        await self.app(scope, receive, send)
        start = messages[0]
        content = b"".join(message.get("body", b"") for message in messages[1:])
        return Answer(start["status"], {n.decode(): v.decode("latin-1") for n, v in start["headers"]}, content)


Transport = DjangoTransport | LaneTransport


@dataclass
class Api:
    """A client of the API. Every answer is held to the API's description."""

    transport: Transport
    name: str = "alice"
    scopes: list[str] = field(default_factory=lambda: list(Caller.SCOPES))
    key: str = ""

    def __post_init__(self) -> None:
        self.key = self.key or make_key(self.name, self.scopes)

    def get(self, path: str, **headers: str) -> Answer:
        return self.call("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self.call("POST", path, body, **headers)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """`body` is sent as it is when it is bytes, else as JSON. Headers: `If_None_Match="…"`; "" leaves one out."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Authorization": f"Bearer {self.key}"}
        if body is not None:
            sent["Content-Type"] = "application/json"
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        answer = self.transport.send(method, path, data, {name: value for name, value in sent.items() if value})
        promises.check(method, path, answer.status, answer.headers, answer.body)
        return answer

    def submit(self, **body: Any) -> dict[str, Any]:
        """A new job's document."""
        answer = self.post("/api/jobs", {"type": "echo", **body})
        assert answer.status == 202, answer.body
        found: dict[str, Any] = answer.json()
        return found
