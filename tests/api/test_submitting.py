"""POST /api/jobs, over both ways."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from typing import Any

import pytest
from django.utils import timezone
from pydantic import BaseModel

from jobs import registry
from jobs.models import IdempotencyKey, Job
from jobs.prune import prune
from jobs.registry import handler
from tests.api.transports import Api, LaneTransport

ECHO = {"type": "echo", "payload": {"value": 1}}


def test_a_new_job_is_accepted_and_says_where_its_status_is(api: Api) -> None:
    answer = api.post("/api/jobs", ECHO)
    document = answer.json()
    assert answer.status == 202
    assert answer.headers["location"] == f"/api/jobs/{document['id']}/status" == document["links"]["status"]
    assert answer.headers["retry-after"] == "1"
    assert "idempotent-replayed" not in answer.headers
    assert uuid.UUID(document["id"]).version == 7
    assert document["status"] == "queued"
    job = Job.objects.get()
    assert (job.client, job.source, job.payload) == ("alice", "api", {"value": 1})


def test_a_replayed_key_returns_the_first_job(api: Api) -> None:
    first = api.post("/api/jobs", {**ECHO, "idempotencyKey": "k"})
    again = api.post("/api/jobs", {**ECHO, "idempotencyKey": "k"})
    assert (first.status, again.status) == (202, 200)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert again.json() == first.json()
    assert Job.objects.count() == IdempotencyKey.objects.count() == 1


def test_the_header_may_carry_the_key(api: Api) -> None:
    first = api.post("/api/jobs", ECHO, Idempotency_Key="k")
    again = api.post("/api/jobs", {**ECHO, "idempotencyKey": "k"}, Idempotency_Key="k")
    assert (first.status, again.status) == (202, 200)
    assert first.json()["idempotencyKey"] == "k"


def test_header_and_member_must_not_disagree(api: Api) -> None:
    answer = api.post("/api/jobs", {**ECHO, "idempotencyKey": "k"}, Idempotency_Key="l")
    assert (answer.status, answer.code) == (400, "malformed")


def test_the_same_key_for_another_request_is_refused_naming_what_differs_but_no_value(api: Api) -> None:
    first = api.post("/api/jobs", {**ECHO, "payload": {"value": "first-secret"}, "idempotencyKey": "k"})
    answer = api.post("/api/jobs", {**ECHO, "payload": {"value": "other-secret"}, "idempotencyKey": "k"})
    assert (answer.status, answer.code) == (422, "key-reused")
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/payload/value"]
    used, created = (
        dt.datetime.fromisoformat(text) for text in (answer.json()["firstUsedAt"], first.json()["createdAt"])
    )
    assert abs(used - created) < dt.timedelta(seconds=1)
    assert b"secret" not in answer.body


def test_keys_belong_to_their_client(api: Api, other: Api) -> None:
    mine = api.submit(idempotencyKey="k")
    theirs = other.submit(idempotencyKey="k", payload={"value": 2})
    assert mine["id"] != theirs["id"]


def test_without_a_key_every_request_is_a_new_job(api: Api) -> None:
    assert api.submit()["id"] != api.submit()["id"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"type": "no-such-type"}, "unknown-type"),
        ({"type": "echo", "queue": "no-such-queue"}, "unknown-queue"),
        ({"type": "echo", "payload": {"failTimes": -1, "no": 1}}, "invalid-payload"),
    ],
)
def test_what_is_refused_stores_nothing_its_key_included(api: Api, body: dict[str, Any], code: str) -> None:
    refused = api.post("/api/jobs", {**body, "idempotencyKey": "k"})
    assert (refused.status, refused.code) == (422, code)
    assert not Job.objects.exists()
    assert not IdempotencyKey.objects.exists()
    assert api.submit(idempotencyKey="k")


def test_all_errors_of_a_payload_are_told_at_once(api: Api) -> None:
    errors = api.post("/api/jobs", {"type": "echo", "payload": {"failTimes": -1, "no": 1}}).json()["errors"]
    assert {error["pointer"] for error in errors} == {"/payload/failTimes", "/payload/no"}


def test_a_known_key_is_answered_before_the_payload_is_validated(api: Api) -> None:
    class Loose(BaseModel):
        pass

    class Strict(BaseModel):
        must: str

    def do(job: Any, payload: Any) -> None:
        pass

    body = {"type": "grows-strict", "payload": {}, "idempotencyKey": "k"}
    try:
        handler("grows-strict", payload=Loose)(do)
        first = api.post("/api/jobs", body)
        registry.unregister("grows-strict")
        handler("grows-strict", payload=Strict)(do)
        assert api.post("/api/jobs", {**body, "idempotencyKey": "new"}).code == "invalid-payload"
        again = api.post("/api/jobs", body)
        registry.unregister("grows-strict")
        gone = api.post("/api/jobs", body)
    finally:
        registry.unregister("grows-strict")
    assert (first.status, again.status, gone.status) == (202, 200, 200)


def test_a_replay_is_answered_after_the_job_was_pruned(api: Api) -> None:
    first = api.submit(idempotencyKey="k")
    api.post(first["links"]["cancel"])
    prune(timezone.now() + dt.timedelta(days=100))
    assert not Job.objects.exists()
    again = api.post("/api/jobs", {"type": "echo", "idempotencyKey": "k"})
    assert (again.status, again.json()["id"], again.json()["status"]) == (200, first["id"], "cancelled")
    assert again.headers["location"] == first["links"]["status"]
    other = api.post("/api/jobs", {"type": "echo", "idempotencyKey": "k", "tags": ["x"]})
    assert (other.status, other.code) == (422, "key-reused")


NOT_JSON = [
    b"", b"nonsense", b"{", b'{"type":"echo"} x', b"\xff\xfe{}", '{"type":"echo"}'.encode("utf-16"),
    b'\xef\xbb\xbf{"type":"echo"}', b'{"type":"echo","type":"echo"}', b'{"type":"echo","payload":{"a":1,"a":2}}',
    b'{"type":"echo","payload":{"value":NaN}}', b'{"type":"echo","payload":{"value":-Infinity}}',
    b'{"type":"echo","payload":{"value":1e999}}', b'{"type":"echo","payload":{"value":' + b"9" * 5000 + b"}}",
    b"[" * 100_000, b'{"a":' * 50_000, b'{"type":"echo","payload":{"value":' + b"[" * 70 + b"]" * 70 + b"}}",
    rb'{"type":"echo","payload":{"value":"\ud800"}}', rb'{"type":"echo","payload":{"\udfff":1}}',
    rb'{"type":"echo","payload":{"value":"\u0000"}}', rb'{"type":"echo","\ud800":1}', rb'{"type":"echo","\u0000":1}',
    b'{"type":"echo","payload":{"value":9223372036854775808}}',
    b"[]", b"null", b'"echo"', b"1", b"[" + b'"\\"[",' * 10,
]  # fmt: skip


@pytest.mark.parametrize("body", NOT_JSON, ids=range(len(NOT_JSON)))
def test_a_body_that_is_no_strict_json_is_a_400_and_stores_nothing(api: Api, body: bytes) -> None:
    answer = api.post("/api/jobs", body)
    assert (answer.status, answer.code) == (400, "malformed"), answer.body
    assert answer.json()["errors"]
    assert not Job.objects.exists()


MALFORMED = [
    {}, {"type": None}, {"type": 1}, {"type": "Echo!"}, {"type": "e" * 101}, {"type": "echo", "unknown": 1},
    {"type": "echo", "payload": []}, {"type": "echo", "payload": "x"}, {"type": "echo", "payload": 1},
    {"type": "echo", "idempotencyKey": ""}, {"type": "echo", "idempotencyKey": "k" * 256},
    {"type": "echo", "idempotencyKey": "ü"}, {"type": "echo", "idempotencyKey": "a\n"}, {"type": "echo", "idempotencyKey": 1},
    {"type": "echo", "queue": ""}, {"type": "echo", "queue": 1}, {"type": "echo", "queue": "a b"},
    {"type": "echo", "maxAttempts": 0}, {"type": "echo", "maxAttempts": 101}, {"type": "echo", "maxAttempts": 1.5},
    {"type": "echo", "maxAttempts": "3"}, {"type": "echo", "maxAttempts": True},
    {"type": "echo", "timeoutSeconds": 0}, {"type": "echo", "timeoutSeconds": 86_401},
    {"type": "echo", "delaySeconds": -1}, {"type": "echo", "delaySeconds": 315_360_001}, {"type": "echo", "delaySeconds": "1"},
    {"type": "echo", "runAt": "tomorrow"}, {"type": "echo", "runAt": "2030-01-01T00:00:00"},
    {"type": "echo", "runAt": "9999-01-01T00:00:00Z"}, {"type": "echo", "runAt": 1},
    {"type": "echo", "runAt": "2030-01-01T00:00:00Z", "delaySeconds": 1},
    {"type": "echo", "tags": ["t"] * 21}, {"type": "echo", "tags": [""]}, {"type": "echo", "tags": ["t" * 65]},
    {"type": "echo", "tags": "t"}, {"type": "echo", "tags": [1]}, {"type": "echo", "tags": ["\x00"]},
    {"type": "echo", "callbackUrl": "ftp://x/"}, {"type": "echo", "callbackUrl": "http://"}, {"type": "echo", "callbackUrl": 1},
]  # fmt: skip


@pytest.mark.parametrize("body", MALFORMED, ids=str)
def test_a_malformed_envelope_is_a_400_that_points_at_it(api: Api, body: dict[str, Any]) -> None:
    answer = api.post("/api/jobs", body)
    assert (answer.status, answer.code) == (400, "malformed"), answer.body
    pointer = answer.json()["errors"][0]["pointer"]
    assert pointer == "" or pointer[1:].split("/")[0] in {"type", *body}
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    "options",
    [
        {"maxAttempts": 1}, {"maxAttempts": 100}, {"timeoutSeconds": 1}, {"timeoutSeconds": 86_400},
        {"delaySeconds": 0}, {"delaySeconds": 315_360_000}, {"tags": ["ü" * 64] * 20}, {"idempotencyKey": " ~" * 127 + "x"},
        {"payload": {"value": [9_223_372_036_854_775_807, -9_223_372_036_854_775_808, 1e308, "🎉", None]}},
        {"payload": None}, {"queue": None, "tags": None}, {"callbackUrl": "https://example.com/x?y=1"},
        {"runAt": "2030-01-01T00:00:00+02:00"},
    ],
    ids=str,
)  # fmt: skip
def test_the_bounds_themselves_are_allowed(api: Api, options: dict[str, Any]) -> None:
    assert api.submit(**options)


def test_a_delayed_job_is_scheduled(api: Api) -> None:
    assert api.submit(delaySeconds=60)["status"] == "scheduled"


def padded(size: int) -> bytes:
    """A request of exactly `size` bytes."""
    frame = json.dumps({"type": "echo", "payload": {"value": ""}}, separators=(",", ":"))
    return frame.replace('""', '"' + "x" * (size - len(frame)) + '"').encode()


def test_a_job_beyond_256_kib_is_a_413(api: Api) -> None:
    assert api.post("/api/jobs", padded(262_144)).status == 202
    answer = api.post("/api/jobs", padded(262_145))
    assert (answer.status, answer.code) == (413, "too-large")


def test_a_body_without_a_stated_length_is_read_no_further_than_the_limit(
    lane_transport: LaneTransport, transactional_db: None
) -> None:
    api = Api(lane_transport)
    headers = {"Authorization": f"Bearer {api.key}", "Content-Type": "application/json"}
    for _ in range(2):  # the first goes through a thread, since the key is not cached yet
        chunks = [b"x" * 65_536 for _ in range(1_000)]
        answer = lane_transport.run(lane_transport.answer("POST", "/api/jobs", chunks, headers))
        assert answer.status == 413


@pytest.mark.parametrize(
    "headers",
    [
        {"Content_Type": "text/plain"},
        {"Content_Type": "application/x-www-form-urlencoded"},
        {"Content_Type": "multipart/form-data; boundary=x"},
        {"Content_Type": "application/json; charset=latin-1"},
        {"Content_Type": ""},
        {"Content_Encoding": "gzip"},
    ],
    ids=str,
)
def test_anything_but_plain_json_is_a_415(api: Api, headers: dict[str, str]) -> None:
    answer = api.post("/api/jobs", b'{"type":"echo"}', **headers)
    assert (answer.status, answer.code) == (415, "unsupported-media-type")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json; charset=utf-8",
        "APPLICATION/JSON",
        "application/json;charset=UTF-8",
        'application/json; charset="utf-8"',
    ],
)
def test_json_may_be_spelt_in_its_usual_ways(api: Api, content_type: str) -> None:
    assert api.post("/api/jobs", ECHO, Content_Type=content_type).status == 202
