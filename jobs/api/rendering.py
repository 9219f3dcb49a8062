"""JSON out, by orjson, and the negotiation about it: JSON is all there is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

ANY = frozenset({"", "*/*", "application/json", "application/*", "application/problem+json"})


class JsonRenderer(BaseRenderer):
    media_type = "application/json"
    format = "json"
    charset = None  # JSON is UTF-8
    also: frozenset[str] = frozenset()
    """What else a caller may accept for it: a problem is JSON whatever a view answers."""

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        """Bytes are a document that a view serialised already."""
        if data is None:
            return b""
        return data if isinstance(data, bytes) else orjson.dumps(data)


class JsonOnly(BaseContentNegotiation):
    """Picks the first renderer; 406 where the caller takes nothing that it could be."""

    def select_parser(self, request: Request, parsers: Iterable[Any]) -> Any:
        return next(iter(parsers), None)

    def select_renderer(
        self, request: Request, renderers: Iterable[Any], format_suffix: str | None = None
    ) -> tuple[Any, str]:
        renderer = next(iter(renderers))
        accept = request.META.get("HTTP_ACCEPT", "")
        if accept not in ANY and not is_acceptable(accept, ANY | renderer.also):
            raise NotAcceptable(f"Only {renderer.media_type} is available.")
        return renderer, renderer.media_type


def is_acceptable(accept: str, offered: frozenset[str]) -> bool:
    """Whether an Accept header names one of `offered` with a quality above zero."""
    for entry in accept.split(","):
        media_type, *parameters = (part.strip().lower() for part in entry.split(";"))
        if media_type in offered and not any(_is_zero(parameter) for parameter in parameters):
            return True
    return False


def _is_zero(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    return name.strip() == "q" and value.strip() in ("0", "0.", "0.0", "0.00", "0.000")


class TextRenderer(BaseRenderer):
    """Prometheus' text format; a problem, which is a dict, is JSON here too."""

    media_type = "text/plain; version=0.0.4"
    format = "txt"
    charset = "utf-8"
    also = frozenset({"text/plain", "text/*"})

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        return data.encode() if isinstance(data, str) else orjson.dumps(data)
