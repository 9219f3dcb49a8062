"""Every malformed request is named with its place, and nothing of it gets further."""

from __future__ import annotations

import datetime as dt
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import envelope
from jobs.errors import MalformedRequest, TooLarge


def parse(body: Any, **options: Any) -> envelope.JobRequest:
    return envelope.parse(body, client="alice", source="api", **options)


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), documents, max_size=5))
def test_a_glance_finds_what_a_walk_finds(payload: dict[str, Any]) -> None:
    """What comes from a JSON parser is looked at as a whole first."""
    found = []
    for is_json in (True, False):
        try:
            found.append(parse({"type": "echo", "payload": payload}, is_json=is_json).payload)
        except MalformedRequest as error:
            found.append(error.errors)
    assert str(found[0]) == str(found[1])


@pytest.mark.parametrize(
    "value", ["\x00", "\ud800", 2**63, -(2**63) - 1, 2**64, float("inf"), float("nan"), {"\x00": 1}]
)
def test_a_glance_misses_nothing_that_cannot_be_stored(value: Any) -> None:
    with pytest.raises(MalformedRequest):
        parse({"type": "echo", "payload": {"value": [value]}}, is_json=True)


def nested(depth: int) -> Any:
    document: Any = 1
    for _ in range(depth):
        document = [document]
    return document


NAUGHTY_URL = "http://x/" + "a" * 2000
LATER = (dt.datetime.now(dt.UTC) + dt.timedelta(days=3700)).isoformat().replace("+00:00", "Z")

BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"kind": "echo"}, "/type", "missing"),
    ({"type": None}, "/type", "bad-name"),
    ({"type": 1}, "/type", "bad-name"),
    ({"type": ""}, "/type", "bad-name"),
    ({"type": "Echo"}, "/type", "bad-name"),
    ({"type": "e" * 101}, "/type", "bad-name"),
    ({"nope": 1}, "/nope", "unknown-member"),
    ({"a/b~c": 1}, "/a~1b~0c", "unknown-member"),
    ({"\ud800": 1}, "", "unknown-member"),
    ({"a\x00b": 1}, "", "unknown-member"),
    ({"payload": []}, "/payload", "not-an-object"),
    ({"payload": "text"}, "/payload", "not-an-object"),
    ({"payload": {"a": {"b": ["x\x00y"]}}}, "/payload/a/b/0", "bad-text"),
    ({"payload": {"a": "\udfff"}}, "/payload/a", "bad-text"),
    ({"payload": {"a\x00": 1}}, "/payload", "bad-name"),
    ({"payload": {"a~/": 2**63}}, "/payload/a~0~1", "out-of-bounds"),
    ({"payload": {"a": -(2**63) - 1}}, "/payload/a", "out-of-bounds"),
    ({"payload": {"a": 10**400}}, "/payload/a", "out-of-bounds"),
    ({"payload": {"a": float("nan")}}, "/payload/a", "not-finite"),
    ({"payload": {"a": float("-inf")}}, "/payload/a", "not-finite"),
    ({"payload": {"a": nested(64)}}, "/payload/a" + "/0" * 63, "too-deep"),
    ({"payload": {"a": object()}}, "/payload/a", "not-json"),
    ({"idempotencyKey": ""}, "/idempotencyKey", "bad-key"),
    ({"idempotencyKey": "k" * 256}, "/idempotencyKey", "bad-key"),
    ({"idempotencyKey": "schlüssel"}, "/idempotencyKey", "bad-key"),
    ({"idempotencyKey": "a\tb"}, "/idempotencyKey", "bad-key"),
    ({"idempotencyKey": "a\n"}, "/idempotencyKey", "bad-key"),
    ({"idempotencyKey": 1}, "/idempotencyKey", "bad-key"),
    ({"queue": ""}, "/queue", "out-of-bounds"),
    ({"queue": "q" * 65}, "/queue", "out-of-bounds"),
    ({"queue": "a b"}, "/queue", "out-of-bounds"),
    ({"queue": 1}, "/queue", "out-of-bounds"),
    ({"runAt": "2030-01-01T00:00:00"}, "/runAt", "out-of-bounds"),
    ({"runAt": "2030-13-01T00:00:00Z"}, "/runAt", "out-of-bounds"),
    ({"runAt": "2030-01-01"}, "/runAt", "out-of-bounds"),
    ({"runAt": "9999-12-31T23:59:59-01:00"}, "/runAt", "out-of-bounds"),
    ({"runAt": "0001-01-01T00:00:00+01:00"}, "/runAt", "out-of-bounds"),
    ({"runAt": "2030-01-01T00:00:00+99:00"}, "/runAt", "out-of-bounds"),
    ({"runAt": LATER}, "/runAt", "out-of-bounds"),
    ({"runAt": 5}, "/runAt", "out-of-bounds"),
    ({"runAt": "2030-01-01T00:00:00Z", "delaySeconds": 1}, "/delaySeconds", "conflicting"),
    ({"delaySeconds": -0.001}, "/delaySeconds", "out-of-bounds"),
    ({"delaySeconds": 315_360_000.5}, "/delaySeconds", "out-of-bounds"),
    ({"delaySeconds": 10**400}, "/delaySeconds", "out-of-bounds"),
    ({"delaySeconds": float("nan")}, "/delaySeconds", "out-of-bounds"),
    ({"delaySeconds": float("inf")}, "/delaySeconds", "out-of-bounds"),
    ({"delaySeconds": "1"}, "/delaySeconds", "out-of-bounds"),
    ({"delaySeconds": True}, "/delaySeconds", "out-of-bounds"),
    ({"maxAttempts": 0}, "/maxAttempts", "out-of-bounds"),
    ({"maxAttempts": 101}, "/maxAttempts", "out-of-bounds"),
    ({"maxAttempts": 2.5}, "/maxAttempts", "out-of-bounds"),
    ({"maxAttempts": True}, "/maxAttempts", "out-of-bounds"),
    ({"maxAttempts": 10**400}, "/maxAttempts", "out-of-bounds"),
    ({"timeoutSeconds": 0}, "/timeoutSeconds", "out-of-bounds"),
    ({"timeoutSeconds": 86_401}, "/timeoutSeconds", "out-of-bounds"),
    ({"tags": "one"}, "/tags", "out-of-bounds"),
    ({"tags": ["t"] * 21}, "/tags", "out-of-bounds"),
    ({"tags": [""]}, "/tags", "out-of-bounds"),
    ({"tags": ["t" * 65]}, "/tags", "out-of-bounds"),
    ({"tags": [1]}, "/tags", "out-of-bounds"),
    ({"tags": ["a\x00"]}, "/tags", "out-of-bounds"),
    ({"tags": ["\ud800"]}, "/tags", "out-of-bounds"),
    ({"callbackUrl": "ftp://example.com"}, "/callbackUrl", "out-of-bounds"),
    ({"callbackUrl": "http://"}, "/callbackUrl", "out-of-bounds"),
    ({"callbackUrl": "http://[::1"}, "/callbackUrl", "out-of-bounds"),
    ({"callbackUrl": "http://x:99999/"}, "/callbackUrl", "out-of-bounds"),
    ({"callbackUrl": "http://x/a b"}, "/callbackUrl", "out-of-bounds"),
    ({"callbackUrl": NAUGHTY_URL}, "/callbackUrl", "out-of-bounds"),
    ({"callbackUrl": 1}, "/callbackUrl", "out-of-bounds"),
]


@pytest.mark.parametrize(("members", "pointer", "code"), BAD, ids=range(len(BAD)))
def test_a_malformed_request_is_named_with_its_place(members: dict[str, Any], pointer: str, code: str) -> None:
    body = members if "type" in members or "kind" in members else {"type": "echo", **members}
    with pytest.raises(MalformedRequest) as refused:
        parse(body)
    found = {(error["pointer"], error["code"]) for error in refused.value.errors}
    assert (pointer, code) in found
    orjson.dumps(refused.value.errors)  # the answer can be written, whatever was sent


GOOD: list[dict[str, Any]] = [
    {"payload": None},
    {"payload": {"a": nested(63)}},
    {"payload": {"a": 2**63 - 1, "b": -(2**63), "c": 1e308, "d": -0.0}},
    {"idempotencyKey": " "},
    {"idempotencyKey": "~" * 255},
    {"idempotencyKey": None},
    {"runAt": "2030-01-01t00:00:00.5z"},
    {"runAt": "2030-01-01 00:00:00.123456789+14:00"},
    {"runAt": "2020-01-01T00:00:00Z"},
    {"delaySeconds": 0},
    {"delaySeconds": 315_360_000},
    {"maxAttempts": 100.0},
    {"timeoutSeconds": 86_400},
    {"tags": ["t" * 64] * 20},
    {"callbackUrl": "https://user@example.com:8443/a?b=c"},
]


@pytest.mark.parametrize("members", GOOD, ids=range(len(GOOD)))
def test_what_stays_within_the_bounds_is_taken(members: dict[str, Any]) -> None:
    assert parse({"type": "echo", **members}).type == "echo"


@pytest.mark.parametrize("body", [None, [], "echo", 1, True])
def test_only_an_object_is_a_job(body: Any) -> None:
    with pytest.raises(MalformedRequest):
        parse(body)


def test_every_error_is_told_at_once() -> None:
    with pytest.raises(MalformedRequest) as refused:
        parse({"payload": {"a": "\x00"}, "maxAttempts": 0, "tags": 1, "x": 1})
    assert {error["pointer"] for error in refused.value.errors} == {
        "/type",
        "/payload/a",
        "/maxAttempts",
        "/tags",
        "/x",
    }


def test_the_header_may_carry_the_key_but_not_another_one() -> None:
    assert parse({"type": "echo"}, header_key="k").key == "k"
    assert parse({"type": "echo", "idempotencyKey": "k"}, header_key="k").key == "k"
    with pytest.raises(MalformedRequest):
        parse({"type": "echo", "idempotencyKey": "k"}, header_key="K")
    with pytest.raises(MalformedRequest):
        parse({"type": "echo"}, header_key="ä")


def test_a_key_is_never_trimmed() -> None:
    assert parse({"type": "echo", "idempotencyKey": " k "}).key == " k "


def test_a_job_beyond_the_limit_is_too_large(settings: Any) -> None:
    settings.JOBS_PAYLOAD_MAX_BYTES = 2000
    assert parse({"type": "echo", "payload": {"a": "ü" * 900}})
    with pytest.raises(TooLarge):
        parse({"type": "echo", "payload": {"a": "ü" * 1000}})


def test_a_tag_given_twice_is_one_tag() -> None:
    assert parse({"type": "echo", "tags": ["a", "b", "a"]}).tags == ["a", "b"]
