"""What both databases can store as it is: a document is judged value by value, with the pointer of each."""

from __future__ import annotations

import math
import re
from typing import Any

import orjson

from jobs.conf import conf
from jobs.errors import FieldError

SURROGATE = re.compile(r"[\ud800-\udfff]")
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


def check_storable(document: Any, pointer: str, errors: list[FieldError], depth: int = 1) -> None:
    """Append an error for each value that one of the databases could not store or would change."""
    if len(errors) >= 20:
        return
    if isinstance(document, str):
        if problem := text_problem(document):
            errors.append(FieldError(pointer, "bad-text", problem))
    elif isinstance(document, bool) or document is None:
        return
    elif isinstance(document, int):
        if not INT64_MIN <= document <= INT64_MAX:
            errors.append(FieldError(pointer, "out-of-bounds", "integers must fit into 64 bits"))
    elif isinstance(document, float):
        if not math.isfinite(document):
            errors.append(FieldError(pointer, "not-finite", "numbers must be finite"))
    elif isinstance(document, dict | list | tuple):
        if depth > conf().json_max_depth:
            errors.append(FieldError(pointer, "too-deep", f"nested deeper than {conf().json_max_depth}"))
            return
        items = document.items() if isinstance(document, dict) else enumerate(document)
        for name, value in items:
            if isinstance(document, dict) and (not isinstance(name, str) or text_problem(name)):
                errors.append(FieldError(pointer, "bad-name", "a member's name holds text that cannot be stored"))
                continue
            check_storable(value, pointer + pointer_to(str(name)), errors, depth + 1)
    else:
        errors.append(FieldError(pointer, "not-json", f"{type(document).__name__} is no JSON"))


_UNUSUAL = re.compile(rb"\\u0000|\d{19}|null")
"""In a document that orjson wrote: NUL, an integer that may be too long, and what infinite floats become."""


def plain_json(document: Any) -> bytes | None:
    """A document that a JSON parser made, as JSON, when a glance tells that it can be stored; else `check_storable` tells.

    orjson refuses lone surrogates and integers of more than 64 bits.
    """
    try:
        text = orjson.dumps(document)
    except TypeError:
        return None
    is_flat = text.count(b"{") + text.count(b"[") <= conf().json_max_depth
    return text if is_flat and not _UNUSUAL.search(text) else None


def text_problem(text: str) -> str | None:
    if "\x00" in text:
        return "text must not hold NUL"
    if SURROGATE.search(text):
        return "text must not hold a lone surrogate"
    return None


def pointer_to(name: str) -> str:
    return "/" + name.replace("~", "~0").replace("/", "~1")
