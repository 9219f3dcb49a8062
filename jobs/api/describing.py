"""GET /api/schema and /api/docs: the API's description, and a page to read and try it. Open, like any manual."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.urls import include, path
from django.utils.encoding import escape_uri_path
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.settings import patched_settings
from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api import mounts
from jobs.api.health import OpenView
from jobs.api.mounts import base_of
from jobs.api.openapi import SETTINGS, Answer, complete, operation


class ApiSchema(OpenView):
    """This document."""

    @operation("getSchema", "OpenAPI 3.1", {200: Answer("The document.", "Document")}, is_open=True)
    def get(self, request: Request) -> Response:
        script: str = request.META.get("SCRIPT_NAME", "").rstrip("/")
        return Response(
            document(base_of(request._request).removeprefix(escape_uri_path(script)), mounts.root(), script)
        )


API, ROOT = "/api", "/root"
"""Where the routes are while they are described."""


def document(base: str = API, root: str | None = "", script: str = "") -> dict[str, Any]:
    """The OpenAPI document of an API whose routes are below `base`, and what is open below `root`, if anywhere."""
    found = _described()
    paths = {}
    for address, operations in found["paths"].items():
        if address.startswith(f"{API}/"):
            paths[base + address.removeprefix(API)] = operations
        elif root is not None:
            paths[root + address.removeprefix(ROOT)] = operations
    return {**found, "servers": [{"url": script or "/"}], "paths": paths}


@cache
def _described() -> dict[str, Any]:
    """Made once, since it depends on the code alone, by our own settings: a project may describe another API by its own."""
    from jobs.api.urls import root_urlpatterns, urlpatterns  # they import this module

    new_generator: Any = SchemaGenerator
    patterns = [path(f"{API[1:]}/", include(urlpatterns)), path(f"{ROOT[1:]}/", include(root_urlpatterns))]
    with patched_settings(SETTINGS):
        found: dict[str, Any] = new_generator(patterns=patterns).get_schema(request=None, public=True)
    return complete(found)


class Docs(SpectacularSwaggerSplitView):
    """Swagger UI from local files. The script that starts it is an answer of its own: no page holds inline code."""

    authentication_classes = ()
    permission_classes = ()
    throttle_classes = ()
    schema = None
    template_name = "jobs/api/docs.html"

    def _get_schema_url(self, request: Request) -> str:
        """That of the same mount."""
        return f"{base_of(request._request)}/schema"
