"""Strict JSON: what the request says is what is stored, on both databases, or it is refused.

Refused are: anything that is not UTF-8, duplicate members, NaN and Infinity, numbers that are too long,
nesting beyond the limit (found before a parser recurses), anything after the document, and bodies above
the limit, of which no more than the limit is read.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

import orjson
from django.http import HttpRequest
from rest_framework.exceptions import UnsupportedMediaType

from jobs.conf import conf
from jobs.errors import FieldError, MalformedRequest, TooLarge

ENVELOPE_DEPTH = 3
"""A payload in a batch stands three levels down: document, list of jobs, job."""

STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def body_of(request: HttpRequest, limit: int) -> bytes:
    """The request's body. Raises UnsupportedMediaType, or TooLarge without reading more than the limit."""
    media_type, _, parameters = request.META.get("CONTENT_TYPE", "").partition(";")
    parameters = parameters.lower().replace('"', "").replace("charset=utf-8", "")
    if media_type.strip().lower() != "application/json" or "charset" in parameters:
        raise UnsupportedMediaType(media_type[:100], detail="Send application/json, in UTF-8.")
    if request.META.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
        raise UnsupportedMediaType(media_type, detail="Content-Encoding is not supported: send plain JSON.")
    stated = request.META.get("CONTENT_LENGTH") or ""
    if stated.isdecimal() and int(stated[:20]) > limit:
        raise _too_large(limit)
    body: bytes = request.read(limit + 1)
    if len(body) > limit:
        raise _too_large(limit)
    return body


def loads(body: bytes) -> Any:
    """The document. Raises MalformedRequest."""
    _check_depth(body)
    found = _canonical(body)
    return _strictly(body) if found is None else found


def _canonical(body: bytes) -> Any:
    """The document, when it is written as orjson would write it, which most programs do: then no member stands twice,
    and nothing else in it can be read in two ways. orjson itself would take the last of two."""
    try:
        found = orjson.loads(body)
        return found if orjson.dumps(found) == body else None
    except (ValueError, TypeError):
        return None


def _strictly(body: bytes) -> Any:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _malformed("not-utf-8", f"byte {error.start} is not UTF-8") from None
    try:
        return _decode(text)
    except json.JSONDecodeError as error:
        raise _malformed("not-json", f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except (ValueError, RecursionError):  # integers of thousands of digits
        raise _malformed("out-of-bounds", "a number or the nesting is beyond every limit") from None


def _check_depth(body: bytes) -> None:
    """Count brackets outside of strings. Only documents with many brackets are looked at."""
    limit = conf().json_max_depth + ENVELOPE_DEPTH
    if body.count(b"{") + body.count(b"[") <= limit:
        return
    depth = 0
    for byte in STRINGS.sub(b"", body):
        if byte in b"{[":
            depth += 1
            if depth > limit:
                raise _malformed("too-deep", f"nested deeper than {conf().json_max_depth}")
        elif byte in b"}]":
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _malformed("duplicate-member", f"the member {twice[:60]!a} is there twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise _malformed("not-finite", f"{name} is no JSON")


_decode = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant).decode


def _malformed(code: str, detail: str) -> MalformedRequest:
    return MalformedRequest(f"The body cannot be read: {detail}.", [FieldError("", code, detail)])


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than {limit:,} bytes.")
