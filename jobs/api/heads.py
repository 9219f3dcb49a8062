"""What middleware and content negotiation make of a request's head, learned from the first answer to it.

A client sends the same head again and again, but for its key, its ids and lengths. Whether such a request
is let pass, and which headers its answer gets beside the view's own, follows from what stays the same: so
the lane need not have Django and DRF find it out each time. A head is everything of a request that anybody
looks at before the view does, save VARYING, which the lane itself looks at or nobody does.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, NamedTuple

from django.core.signals import setting_changed
from django.http.response import HttpResponseBase

from jobs.api.replies import Replied

Headers = list[tuple[bytes, bytes]]

VARYING = frozenset(
    {
        b"authorization",
        b"content-length",
        b"idempotency-key",
        b"if-none-match",
        b"x-request-id",
        # Proxies and tracers add these; nothing reads them before a view, or in it.
        b"traceparent",
        b"tracestate",
        b"x-forwarded-for",
        b"x-real-ip",
    }
)

OF_EACH = frozenset({"content-length", "content-type", "x-request-id"})
"""Headers of an answer that are made anew each time."""

MOST = 1000
"""Heads that are remembered; when there are more they are learned anew."""


class Head(NamedTuple):
    same: tuple[Any, ...]
    varying: dict[bytes, bytes]

    def text(self, name: bytes) -> str | None:
        value = self.varying.get(name)
        return None if value is None else value.decode("latin-1")


def head_of(scope: MutableMapping[str, Any], view: str) -> Head | None:
    """The head of a request for the view; None where a header stands twice that should not, or there is a query."""
    if scope["query_string"]:
        return None
    same: list[Any] = [view, scope["scheme"]]
    varying: dict[bytes, bytes] = {}
    for header in scope["headers"]:
        name = header[0]
        if name not in VARYING:
            same.append(tuple(header))
        elif name in varying:
            return None
        else:
            varying[name] = header[1]
    return Head(tuple(same), varying)


class Heads:
    def __init__(self) -> None:
        self._added: dict[tuple[Any, ...], Headers] = {}
        setting_changed.connect(self._forget)

    def __len__(self) -> int:
        return len(self._added)

    def added_to(self, head: Head) -> Headers | None:
        """The headers that an answer gets beside the view's own; None when that is not known yet."""
        return self._added.get(head.same)

    def learn(self, head: Head, response: HttpResponseBase) -> None:
        """`response` is an answer to that head, with all that middleware has to say."""
        if not isinstance(response, Replied) or response.status_code >= 400:
            return
        if len(self._added) >= MOST:
            self._added.clear()
        own = OF_EACH.union(name.lower() for name in response.reply.headers)
        self._added[head.same] = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in response.items()
            if name.lower() not in own
        ]

    def _forget(self, **_: Any) -> None:
        self._added.clear()
