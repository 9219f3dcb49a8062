"""The fast lane: creating a job and polling its status, answered on the event loop itself.

Threads are what costs a Python server most, and these two requests need none: a create hands its rows to
the group that is committed next and sends its answer when that is done; a status is one look into the
mirror. The lane calls the very views that Django would, with the middleware that needs no I/O, so the
answers are the same. Whatever would need the database here (a key that is not cached, a job that is not
in the mirror) goes to the application behind, in a thread: a database that hangs never holds the loop.

A request whose head was answered before (`heads.py`) is answered without Django's and DRF's objects, by what
its view does with it; the view itself answers whatever is not plain.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, cast

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse
from django.utils.encoding import escape_uri_path
from django.utils.module_loading import import_string

from jobs.addresses import add_links
from jobs.api import mounts, problems, reading, submitting
from jobs.api.access import admit, give_back
from jobs.api.base import job_id
from jobs.api.heads import Head, Heads, head_of
from jobs.api.health import Live
from jobs.api.messages import Receive, Scope, Send, again, read, send_reply, send_response
from jobs.api.replies import Reply
from jobs.api.waiters import Commits, Looks, done
from jobs.api.waiting import Awaited, NeedsThread, put_in_lane
from jobs.conf import conf
from jobs.errors import JobsError, TooLarge

log = logging.getLogger("jobs.api")

App = Callable[[Scope, Receive, Send], Awaitable[None]]
View = Callable[..., HttpResponse]

SCOPES = {"create": submitting.Jobs.scopes["POST"], "status": reading.JobStatus.scopes["GET"]}
"""Of the views that can be done without."""

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


def _is_plain(layer: Any) -> bool:
    """Whether it treats requests with the same head alike (`heads.py`)."""
    made_by = type(layer)
    return getattr(made_by, "is_plain", False) or f"{made_by.__module__}.{made_by.__qualname__}" in PURE


class Route(NamedTuple):
    """A view of the lane, and what was asked of it."""

    view: str
    arguments: dict[str, str]
    base: str = ""
    """The path of the mount that the request came by, script name included."""


class Lane:
    def __init__(self, app: App, middleware: list[Any]) -> None:
        self.app = app
        self.middleware = middleware
        self.views: dict[str, View] = {
            "create": submitting.Jobs.as_view(),
            "status": reading.JobStatus.as_view(),
            "live": Live.as_view(),
        }
        self.commits = Commits()
        self.looks = Looks()
        self.heads = Heads()
        self.script = (settings.FORCE_SCRIPT_NAME or "").rstrip("/")
        self.mounts = {path: escape_uri_path(self.script + base) for path, base in mounts.fixed().items()}
        root = mounts.root()
        self.live = None if root is None else f"{root}/health/live"
        self.has_plain_shell = all(_is_plain(layer) for layer in middleware)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._route_of(scope)
        if route is None:
            return await self.app(scope, receive, send)
        body = await read(scope, receive) if route.view == "create" else b""
        if body is None:
            return None  # the client went away
        head = head_of(scope, route.view + route.base) if self.has_plain_shell else None
        if head is not None and (added := self.heads.added_to(head)) is not None:
            number = problems.id_for(head.text(b"x-request-id") or "")
            reply = await self._reply(route, head, body, number)
            if reply is not None:
                return await send_reply(reply, number, added, send)
        response = await self._answer(scope, body, route)
        if response is None:
            if route.view == "create":
                receive = again(body, receive)
            return await self.app(scope, receive, send)
        if head is not None:
            self.heads.learn(head, response)
        return await send_response(response, send)

    async def _reply(self, route: Route, head: Head, body: bytes, number: str) -> Reply | None:
        """What the view says, without the view; None when it has to answer itself. Nothing was changed then."""
        rate_key = None
        try:
            identity, rate_key = admit(head.text(b"authorization") or "", SCOPES[route.view])
            if route.view == "status":
                entry = await self.looks.at(job_id(route.arguments["id"]))
                if entry is not None and entry.is_fresh and identity.sees(entry.owner):
                    return reading.status_reply(add_links(entry.status, route.base), head.text(b"if-none-match") or "")
                raise NeedsThread
            if len(body) > conf().payload_max_bytes:
                raise TooLarge
            job = submitting.read(identity, body, head.text(b"idempotency-key"))
        except Exception:
            give_back(rate_key)
            return None
        outcomes = await self.commits.of(job)
        if isinstance(outcomes, Exception):
            return problems.reply(outcomes, number)
        try:
            return submitting.end(outcomes, route.base)
        except JobsError as error:
            return problems.reply(error, number)

    async def _answer(self, scope: Scope, body: bytes, route: Route) -> HttpResponse | None:
        """The response; None when the application behind has to make it. Nothing was changed then."""
        try:
            if self.script:  # Django takes it off again
                scope = {**scope, "path": self.script + scope["path"]}
            request = ASGIRequest(scope, io.BytesIO(body))
            if any(layer.process_request(request) for layer in self.middleware if hasattr(layer, "process_request")):
                return None
        except Exception:  # a host that is not allowed, a query that cannot be decoded: Django knows what to say
            return None
        put_in_lane(request)
        mounts.put_at(request, route.base)
        try:
            response = self.views[route.view](request, **route.arguments)
        except NeedsThread:
            return None
        if isinstance(response, Awaited):
            await done(response.future)
            response = response.finish()
        response = cast(Any, response).render()
        for layer in reversed(self.middleware):
            if hasattr(layer, "process_response"):
                response = layer.process_response(request, response)
        return cast(HttpResponse, response)

    def _route_of(self, scope: Scope) -> Route | None:
        if scope["type"] != "http" or scope.get("root_path"):
            return None
        method, path = scope["method"], scope["path"]
        if method == "GET" and path == self.live:
            return Route("live", {})
        is_create = method == "POST"
        if is_create:
            base = self.mounts.get(path)
        elif method == "GET" and path.endswith("/status"):
            jobs, _, text_id = path.removesuffix("/status").rpartition("/")
            base = self.mounts.get(jobs) if text_id else None
        else:
            return None
        if base is None:
            return None
        for header in scope["headers"]:
            if header[0] == b"authorization":
                break
        else:
            return None  # a session, which is in the database
        return Route("create", {}, base) if is_create else Route("status", {"id": text_id}, base)
