"""Where the API is: the links of a job, under the path at which a project has mounted `jobs.api.urls`.

Stored documents hold no links: a project may mount the API twice, and a worker serves no request. The API adds those
of the mount that a request came by (`jobs.api.mounts`); everybody else those that `reverse` gives.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from functools import cache
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.urls import NoReverseMatch, URLResolver, get_resolver, get_script_prefix, reverse

log = logging.getLogger("jobs.addresses")

ROUTE = "jobs-api-"
"""Begins the name of each route of the API."""

JOBS = "jobs"
"""The last part of the path, and of the name, of the list of jobs."""


def links(base: str, job_id: uuid.UUID | str) -> dict[str, str]:
    address = f"{base}/{JOBS}/{job_id}"
    return {"self": address, "status": f"{address}/status", "cancel": f"{address}/cancel", "retry": f"{address}/retry"}


def add_links(document: dict[str, Any], base: str | None) -> dict[str, Any]:
    """Add the links to a status document, and return it. An older version may have stored others in it."""
    document.pop("links", None)
    if base is not None:
        document["links"] = links(base, document["id"])
    return document


@cache
def mounted_at() -> str | None:
    """The path of the API by `reverse`, without a slash at its end; None where the project has not mounted it.

    Loads the project's URLs. A project whose URLs cannot be loaded in this process has no links here, and an entry in the log.
    """
    try:
        found = next(_reversed(), None)
    except Exception:
        log.warning("links were left out: the project's URLs could not be loaded", exc_info=True)
        return None
    if found is None:
        return None
    # Threads that serve no request know no script prefix, and would leave out the one that is set.
    script = settings.FORCE_SCRIPT_NAME or get_script_prefix()
    return script.rstrip("/") + "/" + found.removeprefix(get_script_prefix()).removesuffix(f"/{JOBS}")


def _reversed() -> Iterator[str]:
    for namespace in ("", *_namespaces(get_resolver())):
        try:
            yield reverse(f"{namespace}{ROUTE}{JOBS}")
        except NoReverseMatch:
            continue


def _namespaces(resolver: URLResolver) -> Iterator[str]:
    for name, (_, inner) in resolver.namespace_dict.items():
        yield f"{name}:"
        yield from (f"{name}:{below}" for below in _namespaces(inner))


def _forget(*, setting: str, **_: Any) -> None:
    if setting in ("ROOT_URLCONF", "FORCE_SCRIPT_NAME"):
        mounted_at.cache_clear()


setting_changed.connect(_forget, dispatch_uid="jobs.addresses")
