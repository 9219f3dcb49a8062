"""The envelope of a request: what every door (API, command, scheduler, Python) hands to `submission`.

Checks form only: members, bounds, text that both databases can store. Whether the type exists and the
payload fits it is decided later, after the idempotency key was looked up. Pure: no I/O.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import orjson

from jobs.canonical import of_request
from jobs.conf import QUEUE_NAME, conf
from jobs.errors import FieldError, MalformedRequest, TooLarge
from jobs.registry import TYPE_NAME
from jobs.storable import check_storable, plain_json, pointer_to, text_problem

MEMBERS = (
    "type", "payload", "idempotencyKey", "queue", "runAt", "delaySeconds", "maxAttempts", "timeoutSeconds", "tags",
    "callbackUrl",
)  # fmt: skip
OPTIONS = MEMBERS[3:]
_KNOWN = frozenset(MEMBERS)

KEY = re.compile(r"[\x20-\x7e]{1,255}")
MAX_DELAY_S = 315_360_000  # ten years of 365 days


@dataclass
class JobRequest:
    """One well-formed request, which nobody changes. `payload` and `options` are as they were sent, before defaults."""

    type: str
    payload: Any
    options: dict[str, Any]
    client: str
    source: str
    key: str | None = None
    run_at: dt.datetime | None = None
    who: str = ""
    """Who asked, for the first event; empty: the client."""

    delay_s: float | None = None

    @property
    def tags(self) -> list[str]:
        tags = self.options.get("tags")
        return list(dict.fromkeys(tags)) if tags else []

    @cached_property
    def payload_json(self) -> bytes:
        return orjson.dumps(self.payload)

    @property
    def options_json(self) -> bytes:
        return orjson.dumps(self.options) if self.options else b"{}"

    @cached_property
    def canonical(self) -> bytes:
        """What its fingerprint is taken of."""
        return of_request(self.type, self.payload, self.options)

    def under(self, key: str, who: str) -> JobRequest:
        """The same request under another key. What is known of it is kept, which `dataclasses.replace` would not."""
        other = object.__new__(JobRequest)
        other.__dict__.update(self.__dict__, canonical=self.canonical, key=key, who=who)
        return other


def parse(
    body: Any, *, client: str, source: str, header_key: str | None = None, who: str = "", is_json: bool = False
) -> JobRequest:
    """The request in `body` (the API's camelCase members); `is_json` when it comes from a JSON parser.

    Raises MalformedRequest with every error found, each with its JSON pointer, or TooLarge.
    """
    if not isinstance(body, dict):
        raise MalformedRequest("a job is a JSON object", [FieldError("", "not-an-object", "expected a JSON object")])
    errors: list[FieldError] = []
    for name in body:
        if name not in _KNOWN:
            pointer = "" if text_problem(str(name)) else pointer_to(str(name)[:100])
            errors.append(FieldError(pointer, "unknown-member", f"there is no member {_shown(name)}"))
    _check_type(body, errors)
    key = _check_key(body, header_key, errors)
    payload = body.get("payload", {})
    if payload is None:
        payload = {}
    elif not isinstance(payload, dict):
        errors.append(FieldError("/payload", "not-an-object", "a payload is a JSON object"))
    payload_json = plain_json(payload) if is_json else None
    if payload_json is None:
        check_storable(payload, "/payload", errors)
    options = {name: body[name] for name in OPTIONS if body.get(name) is not None}
    for name, value in options.items():
        problem = _CHECKS[name](value)
        if problem:
            errors.append(FieldError(f"/{name}", "out-of-bounds", problem))
    if "runAt" in options and "delaySeconds" in options:
        errors.append(FieldError("/delaySeconds", "conflicting", "give runAt or delaySeconds, not both"))
    if errors:
        raise MalformedRequest("the request is malformed", errors)
    request = JobRequest(
        type=body["type"],
        payload=payload,
        options=options,
        client=client,
        source=str(source),
        key=key,
        run_at=_time(options["runAt"]) if "runAt" in options else None,
        delay_s=options.get("delaySeconds"),
        who=who,
    )
    if payload_json is not None:
        request.__dict__["payload_json"] = payload_json
    _check_size(request)
    return request


def _check_type(body: dict[str, Any], errors: list[FieldError]) -> None:
    if "type" not in body:
        errors.append(FieldError("/type", "missing", "a job needs a type"))
    elif not isinstance(body["type"], str) or not TYPE_NAME.fullmatch(body["type"]):
        errors.append(
            FieldError("/type", "bad-name", "a type is lower-case letters, digits, '.', '_' and '-', at most 100")
        )


def _check_key(body: dict[str, Any], header_key: str | None, errors: list[FieldError]) -> str | None:
    key = body.get("idempotencyKey")
    for source, value in (("/idempotencyKey", key), ("", header_key)):
        if value is not None and (not isinstance(value, str) or not KEY.fullmatch(value)):
            errors.append(FieldError(source, "bad-key", "an idempotency key is 1 to 255 printable ASCII characters"))
    if key is not None and header_key is not None and key != header_key:
        errors.append(FieldError("/idempotencyKey", "conflicting", "the header Idempotency-Key says another key"))
    return key if key is not None else header_key


def _check_size(request: JobRequest) -> None:
    size = len(request.payload_json) + len(request.options_json) + len("[,]")
    if size > conf().payload_max_bytes:
        raise TooLarge(f"the job has {size} bytes, at most {conf().payload_max_bytes} are allowed")


def _number(low: float, high: float, *, is_integer: bool) -> Callable[[Any], str | None]:
    kind = "an integer" if is_integer else "a number"

    def check(value: Any) -> str | None:
        if not isinstance(value, int | float) or isinstance(value, bool):
            return f"expected {kind}"
        if not low <= value <= high:  # NaN is not, either
            return f"must be {kind} from {low:,} to {high:,}"
        if is_integer and value != int(value):
            return f"expected {kind}"
        return None

    return check


def _check_queue(value: Any) -> str | None:
    is_name = isinstance(value, str) and QUEUE_NAME.fullmatch(value)
    return None if is_name else "a queue's name is letters, digits, '.', '_' and '-', at most 64"


def _check_run_at(value: Any) -> str | None:
    try:
        moment = _time(value)
    except (ValueError, TypeError, OverflowError):
        return "expected an RFC 3339 time with an offset, for example 2030-01-31T08:00:00Z"
    seconds = (moment - dt.datetime.now(dt.UTC)).total_seconds()
    return None if abs(seconds) <= MAX_DELAY_S else "must be within ten years"


def _check_tags(value: Any) -> str | None:
    if not isinstance(value, list | tuple) or len(value) > 20:
        return "expected at most 20 tags"
    for tag in value:
        if not isinstance(tag, str) or not 1 <= len(tag) <= 64 or text_problem(tag):
            return "a tag is 1 to 64 characters"
    return None


def _check_callback(value: Any) -> str | None:
    try:
        if (
            not isinstance(value, str)
            or len(value) > 2000
            or not value.isascii()
            or re.search(r"[\x00-\x20\x7f]", value)
        ):
            raise ValueError
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError
    except ValueError:
        return "expected an http or https URL of at most 2,000 characters"
    return None


_CHECKS: dict[str, Callable[[Any], str | None]] = {
    "queue": _check_queue,
    "runAt": _check_run_at,
    "delaySeconds": _number(0, MAX_DELAY_S, is_integer=False),
    "maxAttempts": _number(1, 100, is_integer=True),
    "timeoutSeconds": _number(1, 86_400, is_integer=True),
    "tags": _check_tags,
    "callbackUrl": _check_callback,
}


RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")


def _time(value: Any) -> dt.datetime:
    """An RFC 3339 time, aware. Raises ValueError."""
    if not isinstance(value, str) or not RFC_3339.fullmatch(value):
        raise ValueError(value)
    return dt.datetime.fromisoformat(value.upper()).astimezone(dt.UTC)


def _shown(name: Any) -> str:
    """A member's name, short and printable, for a message."""
    return ascii(str(name)[:60])
