"""GET of one job: status and detail."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest
from django.utils import timezone

from jobs import queue
from jobs.lifecycle import FINAL, Event, Status
from jobs.models import Effect, LogLine
from tests.api.transports import Api
from tests.support.factory import make_job

MISSING = "01a210d8-37fc-7055-a8c8-5cf29c2f7cf1"


def status_of(job: Any) -> str:
    return f"/api/jobs/{job.pk}/status"


@pytest.mark.parametrize("status", list(Status))
def test_the_status_is_the_contracts_document(api: Api, status: Status) -> None:
    job = make_job(status, client="alice")
    answer = api.get(status_of(job))
    assert answer.status == 200
    assert answer.json()["status"] == status
    assert ("retry-after" in answer.headers) == (status not in FINAL)


def test_mirror_and_database_tell_the_same(api: Api) -> None:
    document = api.submit(idempotencyKey="k")
    mirrored = api.get(document["links"]["status"])
    queue.broker().flushall()
    stored = api.get(document["links"]["status"])
    assert mirrored.json() == stored.json() == document
    assert mirrored.headers["etag"] == stored.headers["etag"]


def test_a_status_that_did_not_change_is_a_304(api: Api) -> None:
    link = api.submit()["links"]["status"]
    first = api.get(link)
    tag = first.headers["etag"]
    for sent in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        again = api.get(link, If_None_Match=sent)
        assert (again.status, again.body) == (304, b"")
        assert again.headers["etag"] == tag
    assert api.get(link, If_None_Match='"other"').status == 200


def test_a_status_that_changed_has_another_etag(api: Api) -> None:
    document = api.submit()
    tag = api.get(document["links"]["status"]).headers["etag"]
    api.post(document["links"]["cancel"])
    answer = api.get(document["links"]["status"], If_None_Match=tag)
    assert answer.status == 200
    assert answer.json()["status"] == "cancelled"


def test_a_job_that_is_not_due_for_long_need_not_be_asked_for_soon(api: Api) -> None:
    near, far = api.submit(delaySeconds=20), api.submit(delaySeconds=5000)
    assert 15 <= int(api.get(near["links"]["status"]).headers["retry-after"]) <= 20
    assert api.get(far["links"]["status"]).headers["retry-after"] == "60"


@pytest.mark.parametrize("id", ["nonsense", "1", MISSING, "%00", "{}", "0" * 32, "x" * 2000, "ä"])
@pytest.mark.parametrize("rest", ["", "/status"])
def test_an_id_that_is_none_is_a_404(api: Api, id: str, rest: str) -> None:
    answer = api.get(f"/api/jobs/{id}{rest}")
    assert (answer.status, answer.code) == (404, "not-found")


@pytest.mark.parametrize("rest", ["", "/status"])
def test_somebody_elses_job_is_a_404_like_one_that_does_not_exist(api: Api, other: Api, rest: str) -> None:
    mine = api.submit()
    theirs = other.get(mine["links"]["self"] + rest)
    missing = other.get(f"/api/jobs/{uuid.uuid4()}{rest}")
    assert theirs.status == missing.status == 404
    assert {**theirs.json(), "requestId": ""} == {**missing.json(), "requestId": ""}


def test_who_may_see_all_sees_all(api: Api) -> None:
    mine = api.submit()
    auditor = Api(api.transport, "auditor", ["jobs:read", "jobs:all"])
    assert auditor.get(mine["links"]["self"]).status == 200
    assert auditor.get(mine["links"]["status"]).status == 200


def test_the_detail_tells_everything(django_api: Api) -> None:
    document = django_api.submit(payload={"value": [1]}, tags=["b", "a", "a"], timeoutSeconds=7)
    answer = django_api.get(document["links"]["self"]).json()
    assert {name: answer[name] for name in document} == document
    assert answer["payload"] == {"value": [1]}
    assert answer["tags"] == ["a", "b"]
    assert (answer["client"], answer["source"], answer["timeoutSeconds"]) == ("alice", "api", 7)
    assert [(event["event"], event["actor"], event["who"]) for event in answer["events"]] == [
        ("submit", "client", "alice")
    ]
    assert answer["waiting"]["code"] == "no-worker"


def test_the_detail_shows_a_life_with_its_effects_and_log(django_api: Api) -> None:
    job = make_job(life=[Event.START, Event.DOUBT], client="alice")
    LogLine.objects.create(job=job, attempt=1, at=timezone.now(), level="info", message="halfway")
    answer = django_api.get(f"/api/jobs/{job.pk}").json()
    assert [event["event"] for event in answer["events"]] == ["submit", "start", "doubt"]
    effect = answer["effects"][0]
    assert (effect["status"], effect["key"]) == ("in_doubt", Effect.objects.get().key)
    assert answer["log"][0]["message"] == "halfway"
    assert answer["waiting"]["code"] == "effect-in-doubt"


def test_a_traceback_stays_with_the_operators(django_api: Api) -> None:
    job = make_job(Status.FAILED, client="alice")
    event = job.events.last()
    event.error_code, event.error_text = (
        "ValueError",
        'Traceback (most recent call last):\n  File "secret.py"\nValueError: no',
    )
    event.save()
    answer = django_api.get(f"/api/jobs/{job.pk}")
    assert answer.json()["events"][-1]["error"] == {"code": "ValueError", "message": "ValueError: no"}
    assert b"secret.py" not in answer.body


def test_a_finished_job_waits_for_nothing(django_api: Api) -> None:
    job = make_job(Status.SUCCEEDED, client="alice")
    assert django_api.get(f"/api/jobs/{job.pk}").json()["waiting"] is None


def test_times_are_utc_with_milliseconds(django_api: Api) -> None:
    created = django_api.submit()["createdAt"]
    assert len(created) == len("2026-01-01T00:00:00.000Z")
    assert abs(dt.datetime.fromisoformat(created) - timezone.now()) < dt.timedelta(seconds=30)
