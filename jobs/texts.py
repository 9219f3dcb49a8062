"""Text and JSON that both databases can store: what handlers return and what their errors say. Pure."""

from __future__ import annotations

import json
import traceback
from typing import Any

from pydantic import BaseModel

from jobs.envelope import SURROGATE

ERROR_TEXT_MAX = 16_384
"""Characters kept of a message with its traceback; its end says what happened."""

MESSAGE_MAX = 2_000


class Unstorable(ValueError):
    """A result that is no JSON, or that a database could not store."""


def to_json(document: Any, max_bytes: int) -> str:
    """JSON text of a document or a pydantic model.

    Raises Unstorable: no JSON, NaN, NUL, a lone surrogate, too deep, too large.
    """
    if isinstance(document, BaseModel):
        document = document.model_dump(mode="json")
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise Unstorable(f"it cannot be stored as JSON: {error}") from None
    if "\\u0000" in text:
        raise Unstorable("it cannot be stored: text must not hold NUL")
    if size > max_bytes:
        raise Unstorable(f"it has {size} bytes of JSON, at most {max_bytes} are kept")
    return text


def clean_text(text: str, limit: int = ERROR_TEXT_MAX) -> str:
    """Text without what the databases refuse; of long text the end is kept."""
    text = SURROGATE.sub("\ufffd", text.replace("\x00", "\ufffd"))
    return text if len(text) <= limit else "…" + text[-limit:]


def error_texts(error: BaseException) -> tuple[str, str]:
    """(message, message with traceback) of an exception, both storable."""
    try:
        message = str(error).strip() or type(error).__name__
        text = "".join(traceback.format_exception(error))
    except Exception:  # an exception whose own text raises
        message = text = type(error).__name__
    return clean_text(message, MESSAGE_MAX), clean_text(text)
