"""POST /api/jobs/batch."""

from __future__ import annotations

import pytest

from jobs.models import IdempotencyKey, Job
from tests.api.transports import Api


def test_each_job_of_a_batch_has_its_own_outcome(api: Api) -> None:
    first = api.submit(idempotencyKey="known", payload={"value": 1})
    jobs = [
        {"type": "echo"},
        {"type": "echo", "idempotencyKey": "known", "payload": {"value": 1}},
        {"type": "echo", "idempotencyKey": "known", "payload": {"value": 2}},
        {"type": "no-such-type"},
        {"type": "echo", "payload": {"no": 1}},
        {"type": "echo", "maxAttempts": 0},
        {"type": "echo", "payload": {"value": "x" * 300_000}},
        "no object",
    ]
    answer = api.post("/api/jobs/batch", {"jobs": jobs})
    items = answer.json()["items"]
    assert answer.status == 200
    assert [item["status"] for item in items] == [202, 200, 422, 422, 422, 400, 413, 400]
    assert items[1]["job"]["id"] == first["id"]
    codes = [item["problem"]["code"] for item in items[2:]]
    assert codes == [
        "key-reused", "unknown-type", "invalid-payload", "malformed", "too-large", "malformed",
    ]  # fmt: skip
    assert Job.objects.count() == 2
    assert IdempotencyKey.objects.count() == 1


def test_equal_keys_in_one_batch_are_one_job(api: Api) -> None:
    job = {"type": "echo", "idempotencyKey": "k", "payload": {"value": 1}}
    other = {**job, "payload": {"value": 2}}
    items = api.post("/api/jobs/batch", {"jobs": [job, job, other, job]}).json()["items"]
    assert [item["status"] for item in items] == [202, 200, 422, 200]
    assert items[0]["job"]["id"] == items[1]["job"]["id"] == items[3]["job"]["id"]
    assert Job.objects.count() == 1


def test_a_batch_repeated_is_all_replays(api: Api) -> None:
    jobs = [{"type": "echo", "idempotencyKey": str(number)} for number in range(100)]
    first = api.post("/api/jobs/batch", {"jobs": jobs}).json()["items"]
    again = api.post("/api/jobs/batch", {"jobs": jobs}).json()["items"]
    assert {item["status"] for item in first} == {202}
    assert {item["status"] for item in again} == {200}
    assert [item["job"] for item in first] == [item["job"] for item in again]


def test_a_thousand_jobs_are_a_batch_and_one_more_is_not(django_api: Api) -> None:
    assert len(django_api.post("/api/jobs/batch", {"jobs": [{"type": "echo"}] * 1000}).json()["items"]) == 1000
    answer = django_api.post("/api/jobs/batch", {"jobs": [{"type": "echo"}] * 1001})
    assert (answer.status, answer.code) == (400, "malformed")
    assert Job.objects.count() == 1000


@pytest.mark.parametrize(
    "body", [{}, {"jobs": {}}, {"jobs": None}, {"jobs": [], "more": 1}, [], None, {"type": "echo"}]
)
def test_what_is_no_batch_is_a_400(django_api: Api, body: object) -> None:
    answer = django_api.post("/api/jobs/batch", b"null" if body is None else body)
    assert (answer.status, answer.code) == (400, "malformed")


def test_an_empty_batch_does_nothing(django_api: Api) -> None:
    assert django_api.post("/api/jobs/batch", {"jobs": []}).json() == {"items": []}


def test_a_key_for_a_whole_batch_is_refused(django_api: Api) -> None:
    answer = django_api.post("/api/jobs/batch", {"jobs": [{"type": "echo"}]}, Idempotency_Key="k")
    assert (answer.status, answer.code) == (400, "malformed")
    assert not Job.objects.exists()


def test_a_batch_beyond_8_mib_is_a_413(django_api: Api) -> None:
    answer = django_api.post("/api/jobs/batch", b'{"jobs":[]}' + b" " * 8_388_608)
    assert (answer.status, answer.code) == (413, "too-large")
