"""Effects in doubt are settled by a person who gives a verdict, evidence, and by that a name."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from jobs.lifecycle import Status
from jobs.models import Effect, Job
from jobs.models import Event as EventRow
from tests.admin.pages import job_url, log_in, messages_of, text
from tests.support.factory import make_effect, make_job


def doubtful() -> tuple[Job, Effect, str]:
    job = make_job("in_doubt")
    effect = Effect.objects.get(job=job)
    return job, effect, f"/admin/jobs/effect/{effect.pk}/settle/"


def test_the_form_is_on_the_pages_of_the_job_and_of_the_effect(staff: Client) -> None:
    job, effect, url = doubtful()
    for page in (job_url(job), f"/admin/jobs/effect/{effect.pk}/change/"):
        assert f'action="{url}"' in staff.get(page).content.decode()


def test_a_done_effect_keeps_its_result_and_the_job_goes_on(staff: Client) -> None:
    job, effect, url = doubtful()
    form = {"verdict": "done", "result": '{"id": 7}', "evidence": "the provider's log has it"}
    response = staff.post(url, form, follow=True)
    assert "The job is queued and goes on" in messages_of(response)[0]
    effect.refresh_from_db()
    assert (effect.status, effect.result, effect.settled_by) == ("done", {"id": 7}, "staff")
    assert effect.evidence == "the provider's log has it"
    assert Job.objects.get(pk=job.pk).status == Status.QUEUED
    event = EventRow.objects.filter(job=job).latest("id")
    assert (event.event, event.who) == ("settle", "staff")
    logged = LogEntry.objects.values_list("object_id", flat=True)
    assert set(logged) == {str(effect.pk), str(job.pk)}


def test_what_did_not_happen_may_happen_again(staff: Client) -> None:
    job, effect, url = doubtful()
    staff.post(url, {"verdict": "not_done", "evidence": "asked them"})
    effect.refresh_from_db()
    assert effect.status == "not_done"
    assert Job.objects.get(pk=job.pk).status == Status.QUEUED


def test_a_job_waits_until_its_last_doubtful_effect_is_settled(staff: Client) -> None:
    job, _, url = doubtful()
    make_effect(job, "second")
    response = staff.post(url, {"verdict": "not_done", "evidence": "asked them"}, follow=True)
    assert "stays where it is" in messages_of(response)[0]
    assert Job.objects.get(pk=job.pk).status == Status.IN_DOUBT


@pytest.mark.parametrize(
    ("form", "complaint"),
    [
        ({"verdict": "done"}, "This field is required"),
        ({"evidence": "seen"}, "This field is required"),
        ({"verdict": "done", "evidence": "seen", "result": "{"}, "valid JSON"),
        ({"verdict": "not_done", "evidence": "seen", "result": "1"}, "has no result"),
        ({"verdict": "perhaps", "evidence": "seen"}, "valid choice"),
    ],
)
def test_an_incomplete_verdict_changes_nothing(staff: Client, form: dict[str, str], complaint: str) -> None:
    job, effect, url = doubtful()
    assert complaint in text(staff.post(url, form))
    effect.refresh_from_db()
    assert (effect.status, effect.settled_by) == ("in_doubt", None)
    assert Job.objects.get(pk=job.pk).status == Status.IN_DOUBT


def test_settling_twice_is_a_message(staff: Client) -> None:
    _, _, url = doubtful()
    form = {"verdict": "not_done", "evidence": "asked them"}
    staff.post(url, form)
    assert "Nothing was changed" in messages_of(staff.post(url, form, follow=True))[-1]
    assert LogEntry.objects.count() == 2


def test_settling_needs_its_permission(db: None) -> None:
    job, effect, url = doubtful()
    bob = log_in("bob", "jobs.view_job", "jobs.view_effect", "jobs.cancel_job")
    assert url not in bob.get(job_url(job)).content.decode()
    assert bob.post(url, {"verdict": "done", "evidence": "x"}).status_code == 403
    effect.refresh_from_db()
    assert effect.status == "in_doubt"

    alice = log_in("alice", "jobs.view_job", "jobs.view_effect", "jobs.settle_effect")
    assert alice.post(url, {"verdict": "done", "evidence": "x"}).status_code == 302
    effect.refresh_from_db()
    assert effect.settled_by == "alice"
