"""Fingerprints: does a request equal the one that used this idempotency key before? Pure.

The fingerprint is SHA-256 over a random salt, kept with the key, and canonical JSON of the request as
it was sent. The salt keeps equal payloads of different keys from being recognised in a dump; no secret
is involved, so nothing breaks when secrets rotate.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from typing import Any

import orjson

ALGORITHM = 1
"""Stored with each fingerprint: a later algorithm can be added without breaking replays of old keys."""

SALT_BYTES = 16
FINGERPRINT_BYTES = 32


_STRICTLY = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS

_MAY_BE_FLOAT = re.compile(rb"[:\[,]-?\d+[.eE]")
"""In JSON without spaces: finds every finite float, and some text that looks like one."""


def canonical(document: Any) -> bytes:
    """Canonical JSON, in the spirit of RFC 8785: sorted names, no spaces, 1.0 written as 1."""
    try:
        found = orjson.dumps(document, option=_STRICTLY)
    except TypeError:
        return _in_python(document)
    # orjson writes floats in another form; all else it writes like the standard library, in a tenth of the time.
    is_same = document.__class__ is dict and not _MAY_BE_FLOAT.search(found)
    return found if is_same else _in_python(document)


def _in_python(document: Any) -> bytes:
    """The definition of it."""
    return json.dumps(_plain(document), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def new_salts(count: int) -> list[bytes]:
    drawn = secrets.token_bytes(SALT_BYTES * count)
    return [drawn[at : at + SALT_BYTES] for at in range(0, len(drawn), SALT_BYTES)]


def of_request(type: str, payload: Any, options: dict[str, Any]) -> bytes:
    """What a fingerprint is taken of."""
    return canonical({"type": type, "payload": payload, "options": options})


def fingerprint(salt: bytes, request: bytes) -> bytes:
    """Bytes that are equal for equal requests (see `of_request`) under the same salt."""
    return hashlib.sha256(salt + request).digest()


def differing_pointers(first: Any, second: Any, pointer: str = "", limit: int = 20) -> list[str]:
    """RFC 6901 pointers at which two JSON documents differ, at most `limit`; never their values."""
    if isinstance(first, dict) and isinstance(second, dict):
        found: list[str] = []
        for name in sorted(first.keys() | second.keys()):
            below = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
            if name not in first or name not in second:
                found.append(below)
            else:
                found += differing_pointers(first[name], second[name], below, limit)
            if len(found) >= limit:
                break
        return found[:limit]
    if isinstance(first, list | tuple) and isinstance(second, list | tuple) and len(first) == len(second):
        found = []
        for index, (a, b) in enumerate(zip(first, second, strict=True)):
            found += differing_pointers(a, b, f"{pointer}/{index}", limit)
            if len(found) >= limit:
                break
        return found[:limit]
    return [] if canonical(first) == canonical(second) else [pointer]


def _plain(document: Any) -> Any:
    """The same document with integral floats as integers, since JSON does not tell them apart."""
    if isinstance(document, float) and document.is_integer() and abs(document) < 2**63:
        return int(document)
    if isinstance(document, dict):
        return {name: _plain(value) for name, value in document.items()}
    if isinstance(document, list | tuple):
        return [_plain(value) for value in document]
    return document
