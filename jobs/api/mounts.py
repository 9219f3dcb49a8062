"""Under which paths a project has mounted the API: what a request's links begin with, and which paths are ours.

A path is cut from the request instead of reversed: one project may include the API several times, and a request is
answered with the addresses of the mount that it came by, whatever proxy, script name or language stands in front.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

from django.conf import settings
from django.core.signals import setting_changed
from django.http import HttpRequest
from django.urls import Resolver404, URLPattern, URLResolver, get_resolver, resolve
from django.urls.resolvers import LocalePrefixPattern, RoutePattern
from django.utils.encoding import escape_uri_path

from jobs.addresses import ROUTE, mounted_at

ROOT_ROUTE = "jobs-root-"
"""Begins the name of each route of `root_urlpatterns`."""

IN_LANE = {"jobs": "/jobs", "status": "/jobs/0/status"}
"""Routes that the fast lane answers, each with an example of its path."""

STARTS = re.compile(r"\A(\^|\\A)")
NAMED = re.compile(r"\(\?P<\w+>")


class Place(NamedTuple):
    """One of our routes, where the project's URLs have it."""

    pattern: URLPattern
    regex: str
    """What stands before the route's own part, without a slash in front."""
    text: str | None
    """The same as text, where it is the same for every request."""


def base_of(request: HttpRequest) -> str:
    """The path of the API as the request's sender sees it, without a slash at its end."""
    known: str | None = getattr(request, "api_base", None)
    if known is not None:
        return known
    own = _steps().get(request.resolver_match.url_name) if request.resolver_match else None
    if own is None:  # a view of ours under a route of the project's
        return mounted_at() or ""
    return escape_uri_path(request.path.rsplit("/", own)[0])


def put_at(request: HttpRequest, base: str) -> None:
    """Say which mount a request came by whose path was not resolved by Django."""
    request.api_base = base  # type: ignore[attr-defined]


def is_ours(request: HttpRequest) -> bool:
    """Whether the answer is ours to give: the path is one of our routes, or below a mount and nobody else's."""
    match = request.resolver_match
    if match is not None:
        return (match.url_name or "").startswith((ROUTE, ROOT_ROUTE))
    return _ours().match(request.path_info) is not None


def fixed() -> dict[str, str]:
    """Mounts whose path is the same for every request and leads to our own views, undecorated: their paths by that of the
    list of jobs, script name left out."""
    from jobs.api.urls import urlpatterns  # it imports this module's users

    views = {pattern.name: pattern.callback for pattern in urlpatterns}
    found = {}
    for place in places():
        if place.pattern.name != f"{ROUTE}jobs" or place.text is None:
            continue
        base = f"/{place.text}".removesuffix("/")
        if all(_leads_to(base + path, views[ROUTE + name]) for name, path in IN_LANE.items()):
            found[f"{base}/jobs"] = base
    return found


def _leads_to(path: str, view: Any) -> bool:
    try:
        return resolve(path).func is view
    except Resolver404:  # somebody else's route comes first, and takes it
        return False


def root() -> str | None:
    """Where the project has mounted `root_urlpatterns`, script name left out; None where it has not."""
    texts = [place.text for place in places() if (place.pattern.name or "").startswith(ROOT_ROUTE)]
    return next((f"/{text}".rstrip("/") for text in texts if text is not None), None)


@cache
def places() -> list[Place]:
    return list(_places(get_resolver().url_patterns, "", ""))


def _places(patterns: Iterable[Any], regex: str, text: str | None) -> Iterator[Place]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            own = pattern.pattern
            plain = str(own) if isinstance(own, RoutePattern) and not own.converters else None
            below = None if text is None or plain is None else text + plain
            yield from _places(pattern.url_patterns, regex + _regex_of(own), below)
        elif isinstance(pattern, URLPattern) and (pattern.name or "").startswith((ROUTE, ROOT_ROUTE)):
            yield Place(pattern, regex, text)


def _regex_of(pattern: Any) -> str:
    if isinstance(pattern, LocalePrefixPattern):
        codes = "|".join(re.escape(code) for code, _ in settings.LANGUAGES)
        return f"(?:(?:{codes})/)?"
    return NAMED.sub("(?:", STARTS.sub("", pattern.regex.pattern))


@cache
def _ours() -> re.Pattern[str]:
    """Paths of the API and what is nearly one of them, such as `/api` or `//api/jobs`."""
    paths = set()
    for place in places():
        mount = place.regex.removesuffix("/")
        is_whole = mount and (place.pattern.name or "").startswith(ROUTE)
        paths.add(mount if is_whole else place.regex + re.escape(str(place.pattern.pattern).split("/")[0]))
    return re.compile(rf"/+(?:{'|'.join(sorted(paths)) or '(?!)'})(?:/|$)")


@cache
def _steps() -> dict[str | None, int]:
    """How many parts of the path are each route's own."""
    from jobs.api.urls import urlpatterns  # it imports this module's users

    return {pattern.name: str(pattern.pattern).count("/") + 1 for pattern in urlpatterns}


def _forget(*, setting: str, **_: Any) -> None:
    if setting in ("ROOT_URLCONF", "LANGUAGES"):
        places.cache_clear()
        _ours.cache_clear()


setting_changed.connect(_forget, dispatch_uid="jobs.api.mounts")
