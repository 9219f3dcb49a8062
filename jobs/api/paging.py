"""Keyset pages over ids: newest first, in both directions, never counted.

A cursor is the id at the edge of a page and the direction to go on in; it holds nothing secret and gives
no right, so it is not signed.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from jobs.errors import FieldError, MalformedRequest
from jobs.models import Job

OLDER, NEWER = b"o", b"n"
PATTERN = "^b[g-z0-9_-][A-Za-z0-9_-]{21}$"
"""What base64 makes of one of those letters and 16 bytes."""


@dataclass(frozen=True, slots=True)
class Cursor:
    direction: bytes
    edge: uuid.UUID

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(self.direction + self.edge.bytes).decode().rstrip("=")


def read(text: str) -> Cursor:
    """Raises MalformedRequest."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 17 or raw[:1] not in (OLDER, NEWER):
        error = FieldError("", "bad-cursor", "use a cursor as an earlier page gave it")
        raise MalformedRequest("The query is malformed.", [error])
    return Cursor(raw[:1], uuid.UUID(bytes=raw[1:]))


@dataclass(frozen=True, slots=True)
class Page:
    items: list[Job]
    next: str | None
    previous: str | None


def page(jobs: QuerySet[Job, Any], size: int, cursor: Cursor | None) -> Page:
    """One page. `next` is older; `previous` is newer. One row more than the page tells whether there is more."""
    if cursor is not None and cursor.direction == NEWER:
        found = list(jobs.filter(pk__gt=cursor.edge).order_by("pk")[: size + 1])
        items = found[:size][::-1]
        has_newer, has_older = len(found) > size, True
    else:
        if cursor is not None:
            jobs = jobs.filter(pk__lt=cursor.edge)
        found = list(jobs.order_by("-pk")[: size + 1])
        items = found[:size]
        has_newer, has_older = cursor is not None, len(found) > size
    if not items:
        return Page([], None, None)
    return Page(
        items,
        str(Cursor(OLDER, items[-1].pk)) if has_older else None,
        str(Cursor(NEWER, items[0].pk)) if has_newer else None,
    )
