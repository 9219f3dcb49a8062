"""Every page: who may see it, what it says, that it escapes, and that it needs nothing inline."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from jobs import mirror, queue, schedules
from jobs.api import keys
from jobs.lifecycle import MEANING, OPEN, Event, Status
from jobs.models import Effect, IdempotencyKey, LogLine, MinuteStat, Schedule
from jobs.rows import mirror_entry
from tests.admin.pages import inline_parts, job_url, log_in, text
from tests.support.factory import make_effect, make_job, make_lease

MODELS = ("apikey", "effect", "idempotencykey", "job", "lease", "minutestat", "queuestate", "schedule")

EVIL = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>"

LONG_LIFE = [Event.START, Event.RETRY, Event.PROMOTE, Event.START, Event.EXPIRE, Event.START, Event.SUCCEED]


def a_full_house() -> list[str]:
    """One row of everything, with hostile texts where texts can be; the addresses of all our pages."""
    job = make_job("in_doubt", key="k<b>", tags=[EVIL], payload={"a": EVIL}, options={"note": EVIL}, client="al<i>ce")
    effect = Effect.objects.get(job=job)
    Effect.objects.filter(pk=effect.pk).update(error=EVIL, evidence=EVIL)
    make_effect(job, "log", Effect.Status.DONE, result={"x": EVIL}, settled_by=EVIL)
    failed = make_job(
        "failed", error_message=EVIL, error_code="Evil<Error>", progress={"current": 1, "total": 2, "message": EVIL}
    )
    succeeded = make_job(life=LONG_LIFE, result=[EVIL])
    running = make_job("running")
    LogLine.objects.create(job=running, attempt=1, at=timezone.now(), level="INFO", message=EVIL)
    key, _ = keys.create("alice")
    schedule = Schedule(name="hourly", type="maintenance", cron="@hourly")
    schedules.store(schedule, who="staff")
    MinuteStat.objects.create(
        minute=timezone.now().replace(second=0, microsecond=0), queue="default", type=EVIL[:100], outcome="succeed",
        worker="w", count=3, wait_1=3, run_2=3,
    )  # fmt: skip
    jobs = (job, failed, succeeded, running, make_job("scheduled"))
    return [
        "/admin/", "/admin/jobs/",
        *(f"/admin/jobs/{model}/" for model in MODELS),
        *(job_url(one) for one in jobs),
        job_url(job, "do/cancel/"), job_url(failed, "do/rerun/"), job_url(job, "history/"),
        f"/admin/jobs/effect/{effect.pk}/change/", f"/admin/jobs/apikey/{key.pk}/change/", "/admin/jobs/apikey/add/",
        f"/admin/jobs/apikey/{key.pk}/do/revoke/", f"/admin/jobs/schedule/{schedule.pk}/change/",
        "/admin/jobs/schedule/add/", f"/admin/jobs/schedule/{schedule.pk}/do/pause/",
        f"/admin/jobs/idempotencykey/{IdempotencyKey.objects.get().pk}/change/",
        f"/admin/jobs/lease/{running.lease_id}/change/", "/admin/jobs/queuestate/high/pause/",
    ]  # fmt: skip


def test_no_page_has_anything_inline_and_every_text_is_escaped(staff: Client) -> None:
    for url in a_full_house():
        response = staff.get(url)
        assert response.status_code == 200, url
        html = response.content.decode()
        assert inline_parts(html) == [], url
        assert "<script>alert" not in html, url
        assert "<img src=x" not in html, url


@pytest.mark.parametrize("status", list(Status))
def test_a_jobs_page_says_its_status_and_what_that_means(staff: Client, status: Status) -> None:
    job = make_job(status, tags=["blue", "green"], key="order-1")
    page = text(staff.get(job_url(job)))
    assert MEANING[status] in page
    assert "blue, green" in page
    assert "order-1" in page


@pytest.mark.parametrize("status", OPEN)
def test_the_page_of_an_open_job_says_why_it_is_not_running(staff: Client, status: Status) -> None:
    response = staff.get(job_url(make_job(status)))
    assert response.context["waiting"]["sentence"] in response.content.decode()


def test_attempts_are_read_from_the_events(staff: Client) -> None:
    attempts = staff.get(job_url(make_job(life=LONG_LIFE))).context["attempts"]
    assert [(a.number, a.outcome, a.duration) for a in attempts] == [
        (1, "retry", "2.0 s"),
        (2, "expire", "2.0 s"),
        (3, "succeed", "2.0 s"),
    ]


def test_the_timeline_has_every_event_with_its_gap_and_its_error(staff: Client) -> None:
    response = staff.get(job_url(make_job(life=LONG_LIFE)))
    steps = response.context["steps"]
    assert [step.name for step in steps] == ["submit", *(event.replace("_", " ") for event in LONG_LIFE)]
    assert {step.gap for step in steps[1:]} == {"+2.0 s"}
    assert "ValueError: the provider said no" in text(response)


def test_the_picture_fills_its_width_with_one_phase_a_status_change(staff: Client) -> None:
    phases = staff.get(job_url(make_job(life=LONG_LIFE))).context["picture"]
    assert [phase.status for phase in phases] == [
        "queued", "running", "scheduled", "queued", "running", "queued", "running", "succeeded",
    ]  # fmt: skip
    assert phases[0].x == 0
    assert phases[-1].x + phases[-1].width == pytest.approx(1000, abs=1)


def test_the_progress_of_a_running_attempt_is_read_from_the_mirror(staff: Client) -> None:
    job = make_job("running")
    (row,) = mirror.rows_of([job.pk])
    progress = {"current": 3, "total": 5, "message": "sending"}
    entry = mirror_entry(row, 1, progress)
    queue.run(queue.Turn(mirrors=[entry]))
    assert "3 of 5 sending" in text(staff.get(job_url(job)))


def test_a_long_payload_is_cut_with_a_way_to_see_all(staff: Client) -> None:
    html = staff.get(job_url(make_job(payload={"text": "x" * 10_000 + "the end"}))).content.decode()
    beginning, _, rest = html.partition("<summary>Show all")
    assert "the end" not in beginning
    assert "the end" in rest


@pytest.mark.parametrize("model", ["apikey", "effect", "idempotencykey", "job", "lease", "schedule"])
@pytest.mark.parametrize("row", ["01890a5d-ac96-774b-bcce-b302099a8057", "99", "²", "<b>"])
def test_a_row_that_is_gone_is_said_so(staff: Client, model: str, row: str) -> None:
    response = staff.get(f"/admin/jobs/{model}/{row}/change/", follow=True)
    assert response.status_code == 200
    assert row in text(response)


def test_nobody_sees_anything_without_logging_in(client: Client, db: None) -> None:
    for url in a_full_house():
        assert client.get(url).status_code == 302, url


def test_staff_without_permissions_are_refused(db: None) -> None:
    bob = log_in("bob")
    for url in a_full_house():
        if url not in ("/admin/", "/admin/jobs/"):
            assert bob.get(url).status_code == 403, url


def test_nobody_may_add_change_or_delete_a_job(staff: Client) -> None:
    job = make_job("queued")
    assert staff.get("/admin/jobs/job/add/").status_code == 403
    assert staff.get(job_url(job, "delete/")).status_code == 403
    staff.post(job_url(job), {"status": "succeeded"})
    job.refresh_from_db()
    assert job.status == Status.QUEUED


@pytest.mark.parametrize("count", [5, 100])
def test_a_page_asks_the_same_few_questions_whatever_it_shows(
    staff: Client, count: int, django_assert_max_num_queries: Any
) -> None:
    jobs = [make_job(life=LONG_LIFE, tags=["a", "b"]) for _ in range(count)]
    for _ in range(count):
        make_lease()
    for url, most in (
        ("/admin/jobs/job/", 5),
        (job_url(jobs[0]), 12),
        ("/admin/jobs/effect/", 5),
        ("/admin/jobs/lease/", 6),
        ("/admin/jobs/minutestat/", 25),
        ("/admin/jobs/queuestate/", 14),
    ):
        with django_assert_max_num_queries(most):
            staff.get(url)
