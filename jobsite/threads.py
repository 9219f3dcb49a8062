"""Django on a few threads that stay: an ASGI callable around the WSGI handler.

Django's own ASGI handler makes a thread for each request, and with it a database connection that is
never used again. Here a fixed number of threads keep theirs. Requests and answers are held in memory
while a thread works on them, so a slow client never occupies one.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from wsgiref.types import WSGIApplication

THREADS = 8
"""Beyond the admin and lists nothing runs here; more threads only fight for the interpreter's lock."""

BODY_MAX_BYTES = 9 * 1024 * 1024
"""More than any request that is accepted (a batch of 8 MiB). What is longer is cut, and refused by its length."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class ThreadedApp:
    """Serve a WSGI application under ASGI. Only HTTP: websockets are refused by the server."""

    def __init__(self, application: WSGIApplication) -> None:
        self.application = application
        self.pool = ThreadPoolExecutor(THREADS, thread_name_prefix="django")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = await _read(receive)
        if body is None:
            return
        environ = _environ(scope, body)
        status, headers, content = await asyncio.get_running_loop().run_in_executor(self.pool, self._answer, environ)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    def _answer(self, environ: dict[str, Any]) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        started: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[..., object]:
            started[:] = [status, headers]
            return lambda data: None

        chunks = self.application(environ, start_response)
        try:
            content = b"".join(chunks)
        finally:
            if close := getattr(chunks, "close", None):
                close()
        status, headers = started
        encoded = [(name.lower().encode("latin-1"), value.strip().encode("latin-1")) for name, value in headers]
        return int(status.split(" ", 1)[0]), encoded, content


async def _read(receive: Receive) -> bytes | None:
    """The body, cut at the bound; None when the client went away."""
    chunks, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        if size <= BODY_MAX_BYTES:
            chunks.append(chunk)
        size += len(chunk)
        if not message.get("more_body", False) or size > BODY_MAX_BYTES:
            return b"".join(chunks)


def _environ(scope: Scope, body: bytes) -> dict[str, Any]:
    """PEP 3333's environment of a request."""
    server = scope.get("server") or ("localhost", 80)
    script, path = scope.get("root_path", "").rstrip("/"), scope["path"]
    if script and path.startswith(f"{script}/"):  # ASGI's path has the prefix in it, PEP 3333's has not
        path = path.removeprefix(script)
    client = scope.get("client") or ("", 0)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": script.encode().decode("latin-1"),
        "PATH_INFO": path.encode().decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1] or 0),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": client[0],
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        _add_header(environ, name, value)
    return environ


def _add_header(environ: dict[str, Any], name: str, value: str) -> None:
    if "_" in name:
        return  # it would pass for the header with a dash
    key = name.upper().replace("-", "_")
    if key in ("CONTENT_LENGTH", "CONTENT_TYPE"):
        environ[key] = value  # the length that the client stated: a body that was cut is refused by it
    else:
        separator = "; " if key == "COOKIE" else ","
        known = environ.get(f"HTTP_{key}")
        environ[f"HTTP_{key}"] = value if known is None else f"{known}{separator}{value}"
