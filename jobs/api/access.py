"""Who asks, what they may do, and how often: authentication, scopes, and the rate limit."""

from __future__ import annotations

import re
import threading
import time
from typing import Any, NamedTuple, cast

from django.http import HttpRequest, HttpResponse
from rest_framework.authentication import BaseAuthentication, CSRFCheck
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied, Throttled
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from jobs import queue
from jobs.api import keys
from jobs.api.keys import Identity
from jobs.api.waiting import NeedsThread, is_in_lane
from jobs.conf import conf
from jobs.lifecycle import Actor

PERMISSIONS = {
    "jobs:create": "jobs.add_job",
    "jobs:read": "jobs.view_job",
    "jobs:cancel": "jobs.cancel_job",
    "jobs:retry": "jobs.rerun_job",
    "jobs:all": "jobs.view_job",
    "schedules:manage": "jobs.change_schedule",
    "queues:manage": "jobs.pause_queue",
}
"""What a member of staff needs in Django's permissions to have a scope by the admin's session."""


def identity_of(request: Request) -> Identity:
    return cast(Identity, request.user)


class KeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer jk_…`. A header that is there decides alone: no session is looked at then."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        header: str | None = request.META.get("HTTP_AUTHORIZATION")
        if header is None:
            return None
        return _identify(header, may_read=not is_in_lane(request._request)), None

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="jobs"'


def _identify(header: str, *, may_read: bool) -> Identity:
    """Whose key the header holds. Raises NeedsThread where only the database knows and `may_read` is not set."""
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "bearer":
        raise AuthenticationFailed("Send the key as 'Authorization: Bearer <key>'.", "bad-key")
    try:
        identity = keys.identify(text, may_read=may_read)
    except keys.NotCached:
        raise NeedsThread from None
    if identity is None:
        raise AuthenticationFailed("This API key is not known, revoked or expired.", "bad-key")
    return identity


class SessionAuthentication(BaseAuthentication):
    """The admin's session, with CSRF: a member of staff acts on all jobs as far as Django's permissions go."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        user: Any = getattr(request._request, "user", None)  # there is none without Django's middleware
        if user is None or not (user.is_active and user.is_staff):
            return None
        if reason := _csrf_problem(request._request):
            raise PermissionDenied(reason, "csrf")
        scopes = frozenset(scope for scope, permission in PERMISSIONS.items() if user.has_perm(permission))
        name = user.get_username()
        return Identity(f"user:{user.pk}", scopes, name, Actor.OPERATOR, is_unlimited=True), None


def _csrf_problem(request: HttpRequest) -> str | None:
    """What Django's check has against the request; DRF's views are exempt from the check in the middleware."""
    check: Any = CSRFCheck(lambda _: HttpResponse())
    check.process_request(request)
    reason: str | None = check.process_view(request, None, (), {})
    return reason


class HasScope(BasePermission):
    """The scope that the view names for the method in `scopes`; a method that it does not name is a 405 later."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        scopes: dict[str, str] = getattr(view, "scopes", {})
        method = request.method or ""
        needed = scopes.get("GET" if method == "HEAD" else method)
        if not isinstance(request.user, Identity):
            return False  # DRF makes that a 401
        if needed is not None:
            _demand(request.user, needed)
        return True


def _demand(identity: Identity, scope: str) -> None:
    if scope not in identity.scopes:
        raise PermissionDenied(f"This needs the scope {scope}.", "missing-scope")


# --- rate limit -----------------------------------------------------------------------------------

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
LOTS = 100
"""A window is taken in so many lots: see ClientRate."""
RATE = re.compile(r"(\d+)/([smhd])")

_quiet_until = 0.0
_spare: dict[str, int] = {}
_lock = threading.Lock()


class ClientRate(BaseThrottle):
    """`rate_limit` requests a window for each client, counted in Redis over all API processes.

    A process takes requests out of the window in small lots, so that most of them cost no round trip: a
    process that stops in the middle of a window wastes at most one lot, which is 1 % of the limit.
    When Redis is away everybody is let through: accepting does not depend on it.
    """

    def allow_request(self, request: Request, view: APIView) -> bool:
        taken = _count(request.user)
        self._wait_s = taken.wait_s
        request._request.rate_key = taken.key  # type: ignore[attr-defined]
        return taken.is_allowed

    def wait(self) -> float:
        return self._wait_s


class Taken(NamedTuple):
    """What became of one request in its client's window."""

    is_allowed: bool
    key: str | None = None
    """Of the window that it was taken out of."""
    wait_s: float = 0


def _count(identity: Any) -> Taken:
    if not isinstance(identity, Identity) or identity.is_unlimited:
        return Taken(True)
    match = RATE.match(conf().rate_limit)
    if match is None:
        return Taken(True)
    limit, window_s = int(match[1]), UNITS[match[2]]
    now = time.time()
    key = f"jobs:rate:{identity.client}:{int(now // window_s)}"
    is_taken = _take(key, limit, window_s, lot=max(1, limit // LOTS))
    return Taken(is_taken is not False, key if is_taken else None, window_s - now % window_s)


def give_back(key: str | None) -> None:
    """The request begins anew elsewhere, where it is counted again."""
    if key is not None:
        with _lock:
            _spare[key] = _spare.get(key, 0) + 1


def admit(authorization: str, scope: str) -> tuple[Identity, str | None]:
    """Who asks, as the classes above find it for a view, without a request and without the database; and what to give
    back when the view is to answer after all. That is so whenever this raises."""
    identity = _identify(authorization, may_read=False)
    _demand(identity, scope)
    taken = _count(identity)
    if not taken.is_allowed:
        raise Throttled(taken.wait_s)
    return identity, taken.key


def _take(key: str, limit: int, window_s: int, lot: int) -> bool | None:
    """One request out of the window's: False when there is none left, None when Redis is away."""
    global _quiet_until
    with _lock:
        if _spare.get(key, 0) > 0:
            _spare[key] -= 1
            return True
    if time.monotonic() < _quiet_until:
        return None
    try:
        pipeline = queue.broker().pipeline(transaction=False)
        pipeline.incrby(key, lot)
        pipeline.expire(key, window_s * 2)
        taken, _ = pipeline.execute()
    except Exception:  # whatever a client of Redis raises
        _quiet_until = time.monotonic() + conf().breaker_s
        return None
    granted = min(lot, limit - (int(taken) - lot))
    if granted <= 0:
        return False
    with _lock:
        if len(_spare) > 10_000:
            _spare.clear()  # keys of windows that are over
        _spare[key] = _spare.get(key, 0) + granted - 1
    return True
