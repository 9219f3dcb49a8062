"""GET /api/schema and /api/docs: the API's description, and a page to read and try it. Open, like any manual."""

from __future__ import annotations

from typing import Any

from django.urls import include, path
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api.health import OpenView
from jobs.api.openapi import Answer, operation


class ApiSchema(OpenView):
    """This document."""

    @operation("getSchema", "OpenAPI 3.1", {200: Answer("The document.", "Document")}, is_open=True)
    def get(self, request: Request) -> Response:
        return Response(document())


_document: dict[str, Any] | None = None


def document() -> dict[str, Any]:
    """The OpenAPI document: made once, since it depends on the code alone."""
    global _document
    if _document is None:
        from jobs.api.urls import root_urlpatterns, urlpatterns  # they import this module

        new_generator: Any = SchemaGenerator
        generator = new_generator(patterns=[path("api/", include(urlpatterns)), *root_urlpatterns])
        _document = generator.get_schema(request=None, public=True)
    return _document


class Docs(SpectacularSwaggerSplitView):
    """Swagger UI from local files. The script that starts it is an answer of its own: no page holds inline code."""

    authentication_classes = ()
    permission_classes = ()
    throttle_classes = ()
    template_name = "jobs/api/docs.html"
    url_name = "jobs-api-schema"
