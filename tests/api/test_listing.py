"""GET /api/jobs: pages and filters."""

from __future__ import annotations

import datetime as dt
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jobs.lifecycle import Status
from tests.api.transports import Api
from tests.support.factory import make_job


def ids(answer: Any) -> list[str]:
    return [item["id"] for item in answer.json()["items"]]


def page(api: Api, **parameters: Any) -> Any:
    answer = api.get(f"/api/jobs?{urlencode(parameters)}")
    assert answer.status == 200, answer.body
    return answer


def walk(api: Api, direction: str, **parameters: Any) -> list[list[str]]:
    """All pages from where the parameters begin, by following `next` or `previous`."""
    pages = []
    while True:
        answer = page(api, **parameters)
        pages.append(ids(answer))
        cursor = answer.json()[direction]
        if cursor is None:
            return pages
        parameters["cursor"] = cursor


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7, 200])
def test_pages_hold_every_job_once_newest_first_in_both_directions(django_api: Api, size: int) -> None:
    made = [str(make_job(client="alice").pk) for _ in range(7)]
    forth = walk(django_api, "next", pageSize=size)
    assert [job for ids in forth for job in ids] == made[::-1]
    assert {len(ids) for ids in forth[:-1]} <= {size}
    last = page(django_api, pageSize=size)
    while last.json()["next"]:
        last = page(django_api, pageSize=size, cursor=last.json()["next"])
    if last.json()["previous"]:
        back = walk(django_api, "previous", pageSize=size, cursor=last.json()["previous"])
        assert [*back[::-1], ids(last)] == forth


def test_jobs_that_arrive_meanwhile_neither_repeat_nor_hide_others(django_api: Api) -> None:
    made = [str(make_job(client="alice").pk) for _ in range(4)]
    first = page(django_api, pageSize=2)
    newer = [str(make_job(client="alice").pk) for _ in range(2)]
    second = page(django_api, pageSize=2, cursor=first.json()["next"])
    assert ids(first) + ids(second) == made[::-1]
    back = page(django_api, pageSize=10, cursor=second.json()["previous"])
    assert ids(back) == newer[::-1] + ids(first)


def test_a_list_holds_status_documents(django_api: Api) -> None:
    document = django_api.submit()
    assert page(django_api).json() == {"items": [document], "next": None, "previous": None}


def test_a_client_lists_its_own_jobs_only(django_api: Api) -> None:
    mine = make_job(client="alice")
    theirs = make_job(client="bob")
    auditor = Api(django_api.transport, "auditor", ["jobs:read", "jobs:all"])
    assert ids(page(django_api)) == [str(mine.pk)]
    assert ids(page(auditor)) == [str(theirs.pk), str(mine.pk)]


@pytest.mark.parametrize(
    ("filters", "columns"),
    [
        ({"status": "failed"}, {"status": Status.FAILED}),
        ({"type": "maintenance"}, {"type": "maintenance"}),
        ({"queue": "low"}, {"queue": "low"}),
        ({"tag": "red"}, {"tags": ["red", "blue"]}),
        ({"key": "k 1"}, {"key": "k 1"}),
        (
            {"queue": "low", "tag": "red", "status": "failed"},
            {"queue": "low", "tags": ["red"], "status": Status.FAILED},
        ),
    ],
)
def test_filters_narrow_and_combine(django_api: Api, filters: dict[str, str], columns: dict[str, Any]) -> None:
    wanted = make_job(columns.pop("status", Status.QUEUED), client="alice", **columns)
    make_job(client="alice")
    make_job(client="alice", queue="low")
    make_job(client="alice", tags=["blue"])
    found = ids(page(django_api, **filters))
    assert str(wanted.pk) in found
    assert len(found) == (2 if filters == {"queue": "low"} else 1)


def test_jobs_can_be_found_by_when_they_were_created(django_api: Api) -> None:
    job = django_api.submit()
    now = timezone.now()
    minute = dt.timedelta(minutes=1)
    assert ids(page(django_api, createdAfter=(now - minute).isoformat(), createdBefore=(now + minute).isoformat())) == [
        job["id"]
    ]
    assert ids(page(django_api, createdAfter=(now + minute).isoformat())) == []
    assert ids(page(django_api, createdBefore=(now - minute).isoformat())) == []
    assert ids(page(django_api, createdAfter="0001-01-01T00:00:00Z", createdBefore="9999-12-31T00:00:00Z")) == [
        job["id"]
    ]


BAD = [
    {"status": "waiting"}, {"status": ""}, {"type": "E!"}, {"queue": "a b"}, {"tag": ""}, {"tag": "t" * 65}, {"tag": "\x00"},
    {"key": ""}, {"key": "ü"}, {"createdAfter": "yesterday"}, {"createdAfter": "2026-01-01"}, {"createdBefore": "2026-13-01T00:00:00Z"},
    {"createdBefore": "0001-01-01T00:00:00+23:59"}, {"pageSize": 0}, {"pageSize": 201}, {"pageSize": "x"}, {"pageSize": "-1"},
    {"pageSize": "٣"}, {"pageSize": "1" * 5000}, {"cursor": ""}, {"cursor": "x"}, {"cursor": "A" * 24}, {"cursor": "é"}, {"unknown": 1}, {"Status": "failed"},
]  # fmt: skip


@pytest.mark.parametrize("parameters", BAD, ids=lambda value: str(value)[:40])
def test_a_parameter_that_makes_no_sense_is_a_400(django_api: Api, parameters: dict[str, Any]) -> None:
    answer = django_api.get(f"/api/jobs?{urlencode(parameters)}")
    assert (answer.status, answer.code) == (400, "malformed")


def test_a_parameter_given_twice_is_a_400(django_api: Api) -> None:
    assert django_api.get("/api/jobs?status=failed&status=queued").status == 400


def test_a_page_costs_the_same_queries_however_many_jobs_there_are_and_counts_none(django_api: Api) -> None:
    django_api.get("/api/jobs")
    for _ in range(5):
        make_job(client="alice", tags=["t"])
    with CaptureQueriesContext(
        connection,
    ) as queries:
        page(django_api, tag="t")
    assert len([query for query in queries if "jobs_job" in query["sql"]]) == 1
    assert not any("COUNT(" in query["sql"].upper() for query in queries)
