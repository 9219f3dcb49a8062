"""An answer as data: what a view has to say, before Django (`response`) or the fast lane makes HTTP of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson
from rest_framework.response import Response

JSON = "application/json"


class Reply(NamedTuple):
    status: int
    document: Any
    """None: no body. Bytes: JSON already."""
    headers: dict[str, str]
    media_type: str = JSON

    @property
    def body(self) -> bytes:
        return as_json(self.document)

    def response(self) -> Replied:
        response = Replied(self.document, status=self.status, headers=self.headers, content_type=self.media_type)
        response.reply = self
        return response


class Replied(Response):
    """A response that says no more than a reply and what Django and DRF add to it."""

    reply: Reply


def as_json(document: Any) -> bytes:
    if document is None:
        return b""
    return document if isinstance(document, bytes) else orjson.dumps(document)
