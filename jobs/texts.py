"""Text and JSON that both databases can store: what handlers return and what their errors say. Pure."""

from __future__ import annotations

import json
import math
import re
import traceback
from enum import Enum
from typing import Any
from uuid import UUID

import orjson
from pydantic import BaseModel

from jobs.conf import conf
from jobs.errors import FieldError, Interrupted
from jobs.storable import INT64_MAX, INT64_MIN, SURROGATE, check_storable

ERROR_TEXT_MAX = 16_384
"""Characters kept of a message with its traceback; its end says what happened."""

MESSAGE_MAX = 2_000

_SUSPICIOUS = re.compile(r"\\u0000|\\u[dD]|\d{19}")
"""What may be NUL, an integer beyond 64 bits, or (in an `orjson.Fragment`, which nobody has read) a surrogate: a cheap
look before the thorough one."""


def _plain(value: Any) -> Any:
    """What orjson writes and the standard library does not."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"a {type(value).__name__} is no JSON")


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode
_STRICT = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS


class Unstorable(ValueError):
    """A result that is no JSON, or that a database could not store."""


def to_json(document: Any, max_bytes: int) -> str:
    """JSON text of a document or a pydantic model.

    Raises Unstorable: no JSON, NaN, NUL, a lone surrogate, an integer beyond 64 bits, too deep, too large.
    """
    if isinstance(document, BaseModel):
        document = document.model_dump(mode="json")
    try:
        raw = _dump(document)
    except (TypeError, ValueError, RecursionError) as error:
        raise Unstorable(f"it cannot be stored as JSON: {error}") from None
    if len(raw) > max_bytes:
        raise Unstorable(f"it has {len(raw)} bytes of JSON, at most {max_bytes} are kept")
    text = raw.decode()
    if _SUSPICIOUS.search(text) or text.count("[") + text.count("{") > conf().json_max_depth:
        errors: list[FieldError] = []
        check_storable(json.loads(text), "", errors)
        if errors:
            raise Unstorable(f"it cannot be stored: {errors[0]['detail']} (at {errors[0]['pointer'] or 'its top'})")
    return text


def _dump(document: Any) -> bytes:
    """As `_encode`, in a third of its time for what orjson writes likewise; NaN it would write as null."""
    try:
        raw = orjson.dumps(document, option=_STRICT)
    except TypeError:
        return _encode(document).encode()
    return _encode(document).encode() if b"null" in raw else raw


def finite(value: Any) -> int | float | None:
    """A number that JSON, Redis and both databases hold; None where the value is not one."""
    try:
        number = int(value) if isinstance(value, int) and INT64_MIN <= value <= INT64_MAX else float(value)
        return number if math.isfinite(number) else None
    except Interrupted:
        raise
    except BaseException:  # what a value's own methods raise, be it SystemExit
        return None


def clean_text(text: str, limit: int = ERROR_TEXT_MAX) -> str:
    """Text without what the databases refuse; of long text the end is kept."""
    text = SURROGATE.sub("\ufffd", text.replace("\x00", "\ufffd"))
    return text if len(text) <= limit else "…" + text[1 - limit :]


def as_text(message: object, *arguments: Any, limit: int = ERROR_TEXT_MAX) -> str:
    """Text of `message % arguments`; where they do not fit, or cannot be read, what can be read of each of them.

    Raises nothing but an interrupt of the attempt, which is not the text's affair.
    """
    try:
        text = str(message) % arguments if arguments else str(message)
        return clean_text(str.__str__(text), limit)  # not a class of the handler's, which other processes cannot read
    except Interrupted:
        raise
    except BaseException:  # what an object's own methods raise, be it SystemExit
        texts = map(as_text, (message, *arguments)) if arguments else [object.__repr__(message)]
        return clean_text(" ".join(texts), limit)


def error_texts(error: BaseException) -> tuple[str, str]:
    """(message, message with traceback) of an exception, both storable."""
    try:
        message = str(error).strip() or type(error).__name__
        text = "".join(traceback.format_exception(error))
    except BaseException:  # an exception whose own text raises, be it SystemExit
        message = text = type(error).__name__
    return clean_text(message, MESSAGE_MAX), clean_text(text)
