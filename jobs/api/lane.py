"""The fast lane: creating a job and polling its status, answered on the event loop itself.

Threads are what costs a Python server most, and these two requests need none: a create hands its rows to
the group that is committed next and sends its answer when that is done; a status is one look into the
mirror. The lane calls the very views that Django would, with the middleware that needs no I/O, so the
answers are the same. Whatever would need the database here (a key that is not cached, a job that is not
in the mirror) goes to the application behind, in a thread: a database that hangs never holds the loop.
"""

from __future__ import annotations

import asyncio
import io
import logging
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Future
from typing import Any, cast

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse
from django.utils.module_loading import import_string

from jobs.api.health import Live
from jobs.api.reading import JobStatus
from jobs.api.submitting import Jobs
from jobs.api.waiting import WAIT_S, Awaited, NeedsThread, put_in_lane
from jobs.conf import conf
from jobs.documents import API

log = logging.getLogger("jobs.api")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
View = Callable[..., HttpResponse]

PURE = frozenset(
    {
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    }
)
"""Middleware of Django's that asks nothing of database or network. One's own says so by `is_pure = True`."""

NEEDLESS = frozenset(
    {
        "whitenoise.middleware.WhiteNoiseMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    }
)
"""Middleware that has nothing to say about a request with an API key."""


def lane(app: App) -> App:
    """`app` with the lane in front of it."""
    middleware = _middleware()
    return app if middleware is None else Lane(app, middleware)


def _middleware() -> list[Any] | None:
    """The middleware that the lane applies; None when there is some that it cannot judge."""
    found = []
    for path in settings.MIDDLEWARE:
        made_by = import_string(path)
        if path in PURE or getattr(made_by, "is_pure", False):
            found.append(made_by(lambda request: HttpResponse()))
        elif path not in NEEDLESS:
            log.warning("the fast lane is closed: %s might do I/O (if it does not, give it is_pure = True)", path)
            return None
    return found


class Waiters:
    """Requests whose rows are being committed. A group's futures are settled one after another by another thread:
    the loop is woken once for all of them."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: deque[asyncio.Future[None]] = deque()
        self._is_rung = False

    async def done(self, future: Future[Any]) -> None:
        """Wait until the future is done, or for WAIT_S: then the view tells the client. Does not cancel it: its rows
        may be committed already."""
        if future.done():
            return
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # a ring of a loop that has ended is not answered any more
            self._loop, self._over, self._is_rung = loop, deque(), False
        waiter = loop.create_future()
        timer = loop.call_later(WAIT_S, _let_go, waiter)
        future.add_done_callback(lambda _: self._ring(loop, waiter))
        try:
            await waiter
        finally:
            timer.cancel()

    def _ring(self, loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[None]) -> None:
        self._over.append(waiter)
        if not self._is_rung:
            self._is_rung = True
            loop.call_soon_threadsafe(self._let_all_go)

    def _let_all_go(self) -> None:
        self._is_rung = False  # before the look that follows: who comes after it rings
        while self._over:
            _let_go(self._over.popleft())


def _let_go(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class Lane:
    def __init__(self, app: App, middleware: list[Any]) -> None:
        self.app = app
        self.middleware = middleware
        self.create: View = Jobs.as_view()
        self.status: View = JobStatus.as_view()
        self.live: View = Live.as_view()
        self.waiters = Waiters()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._view_for(scope)
        if found is None:
            return await self.app(scope, receive, send)
        view, arguments = found
        body = await _read(scope, receive) if view is self.create else b""
        if body is None:
            return None  # the client went away
        response = await self._answer(scope, body, view, arguments)
        if response is None:
            if view is self.create:
                receive = _again(body, receive)
            return await self.app(scope, receive, send)
        return await _send(response, send)

    def _view_for(self, scope: Scope) -> tuple[View, dict[str, str]] | None:
        if scope["type"] != "http" or scope.get("root_path"):
            return None
        method, path = scope["method"], scope["path"]
        if method == "GET" and path == "/health/live":
            return self.live, {}
        if not any(name == b"authorization" for name, _ in scope["headers"]):
            return None  # a session, which is in the database
        if method == "POST" and path == API:
            return self.create, {}
        if method == "GET" and path.startswith(API + "/") and path.endswith("/status"):
            job_id = path[len(API) + 1 : -len("/status")]
            return (self.status, {"id": job_id}) if job_id and "/" not in job_id else None
        return None

    async def _answer(self, scope: Scope, body: bytes, view: View, arguments: dict[str, str]) -> HttpResponse | None:
        """The response; None when the application behind has to make it. Nothing was changed then."""
        try:
            request = ASGIRequest(scope, io.BytesIO(body))
            if any(layer.process_request(request) for layer in self.middleware if hasattr(layer, "process_request")):
                return None
        except Exception:  # a host that is not allowed, a query that cannot be decoded: Django knows what to say
            return None
        put_in_lane(request)
        try:
            response = view(request, **arguments)
        except NeedsThread:
            return None
        if isinstance(response, Awaited):
            await self.waiters.done(response.future)
            response = response.finish()
        response = cast(Any, response).render()
        for layer in reversed(self.middleware):
            if hasattr(layer, "process_response"):
                response = layer.process_response(request, response)
        return cast(HttpResponse, response)


async def _read(scope: Scope, receive: Receive) -> bytes | None:
    """The body, or as much of it as shows that it is too large; None when the client went away."""
    limit = conf().payload_max_bytes
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value[:20]) > limit:
            return b""  # the view refuses it by its stated length
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        chunks.append(chunk)
        size += len(chunk)
        if size > limit or not message.get("more_body", False):
            return b"".join(chunks)


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read already."""
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _send(response: HttpResponse, send: Send) -> None:
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.items()]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.content})
