"""The lists stay fast on large tables: they page by key, never count, and search by index."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jobs.admin import search
from jobs.admin.filters import first_id_at
from jobs.lifecycle import Event
from jobs.models import Job
from tests.admin.pages import text
from tests.support.factory import make_effect, make_job

LIST = "/admin/jobs/job/"


def shown(response: object) -> list[uuid.UUID]:
    return [job.pk for job in response.context["cl"].result_list]  # type: ignore[attr-defined]


def test_pages_lead_from_the_newest_to_the_oldest_and_back(staff: Client) -> None:
    ids = sorted((make_job().pk for _ in range(120)), reverse=True)
    pages, url = [], LIST
    while url:
        response = staff.get(url)
        pages.append(shown(response))
        last, url = url, response.context["cl"].older_url and LIST + response.context["cl"].older_url
    assert [pk for page in pages for pk in page] == ids
    assert [len(page) for page in pages] == [50, 50, 20]

    back = [pages[-1]]
    response = staff.get(last)
    while response.context["cl"].newer_url:
        response = staff.get(LIST + response.context["cl"].newer_url)
        back.append(shown(response))
    assert back == list(reversed(pages))


def test_a_cursor_that_is_none_shows_the_first_page(staff: Client) -> None:
    job = make_job()
    assert shown(staff.get(LIST + "?before=nonsense")) == [job.pk]


def test_a_list_never_counts_and_reads_one_page(staff: Client) -> None:
    for _ in range(60):
        make_job("failed")
    for url in (
        LIST,
        LIST + "?status=failed",
        LIST + "?q=no-such-key",
        "/admin/jobs/idempotencykey/",
        "/admin/jobs/effect/",
    ):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert staff.get(url).status_code == 200
        for query in queries:
            assert "COUNT(" not in query["sql"].upper(), query["sql"]


@pytest.mark.parametrize(
    "address", ["job/?payload__contains=a", "job/?error_message__icontains=a", "apikey/?secret_hash__startswith=a"]
)
def test_an_address_filters_by_nothing_that_the_filters_do_not_offer(staff: Client, address: str) -> None:
    assert staff.get(f"/admin/jobs/{address}").status_code == 400


def test_filters_narrow_the_list_and_keep_their_choice_on_the_next_page(staff: Client) -> None:
    failed = [make_job("failed", type="maintenance", client="bob", queue="low").pk for _ in range(60)]
    make_job("queued")
    for query in (
        "status=failed",
        "type=maintenance",
        "client=bob",
        "queue=low",
        "status=failed&queue=low&created=hour",
    ):
        response = staff.get(f"{LIST}?{query}")
        assert len(shown(response)) == 50
        second = staff.get(LIST + response.context["cl"].older_url)
        assert set(shown(response) + shown(second)) == set(failed)


def test_the_filter_by_age_reads_the_time_in_the_id(staff: Client) -> None:
    old = first_id_at(timezone.now() - dt.timedelta(days=3))
    new = make_job().pk
    make_job(id=old)
    assert shown(staff.get(LIST + "?created=day")) == [new]
    assert shown(staff.get(LIST + "?created=week")) == [new, old]


@pytest.mark.parametrize(
    "term",
    [
        "{id}",
        " {id} ",
        "order-1",
        "order-",
        "key:order-",
        "maintenance",
        "type:maintenance",
        "blue",
        "tag:blue",
        "id:{id}",
    ],
)
def test_the_search_box_understands_ids_keys_types_and_tags(staff: Client, term: str) -> None:
    wanted = make_job(type="maintenance", key="order-1", tags=["blue"])
    make_job(type="echo", key="Order-2", tags=["green"])
    assert shown(staff.get(LIST, {"q": term.format(id=wanted.pk)})) == [wanted.pk]


@pytest.mark.parametrize("term", ["id:nonsense", "rder-1", "%", "_", "key:%", "00000000-0000-7000-8000-000000000000"])
def test_a_search_finds_nothing_in_the_middle_of_a_key_and_knows_no_wildcards(staff: Client, term: str) -> None:
    make_job(key="order-1")
    assert shown(staff.get(LIST, {"q": term})) == []


def test_a_key_may_begin_with_a_word_and_a_colon(staff: Client) -> None:
    job = make_job(key="schedule:nightly:2026-11-25T03:00:00Z")
    assert shown(staff.get(LIST, {"q": "schedule:nightly:"})) == [job.pk]


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="reads SQLite's query plan")
@pytest.mark.parametrize(
    ("term", "index"),
    [
        ("order-", "idempotencykey_by_key"),
        ("key:order-1", "idempotencykey_by_key"),
        ("maintenance", "job_by_type"),
        ("blue", "jobs_jobtag_1 (tag=?)"),
    ],
)
def test_a_search_is_answered_by_an_index(db: None, term: str, index: str) -> None:
    make_job(key="order-1", tags=["blue"])
    plan = Job.objects.filter(search.meaning(term)).order_by("-pk")[:51].explain()
    assert index in plan, plan
    assert "SCAN jobs_job" not in plan, plan


def test_the_row_tells_attempts_waits_and_runs(staff: Client) -> None:
    make_job(life=[Event.START, Event.RETRY, Event.PROMOTE, Event.START, Event.SUCCEED], key="k" * 60)
    page = text(staff.get(LIST))
    assert "2 (1 failure of 5)" in page
    assert page.count("2.0 s") == 2
    assert "k" * 38 + "…" in page


def test_effects_in_doubt_are_one_filter_away(staff: Client) -> None:
    make_job("in_doubt")
    make_effect(make_job("running"), status="executing")
    response = staff.get("/admin/jobs/effect/?status=in_doubt")
    assert [effect.status for effect in response.context["cl"].result_list] == ["in_doubt"]


def test_a_key_is_found_by_its_beginning_or_its_job(staff: Client) -> None:
    job = make_job(key="order-1")
    make_job(key="invoice-1")
    for term in ("order", "order-1", str(job.pk)):
        response = staff.get("/admin/jobs/idempotencykey/", {"q": term})
        assert [key.key for key in response.context["cl"].result_list] == ["order-1"]
