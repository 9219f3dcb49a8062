"""What an operator may do to jobs, and that each of it is recorded under the operator's name."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from jobs.admin.actions import ACTIONS
from jobs.lifecycle import TRANSITIONS, Actor, Event, Status, events_for
from jobs.models import Event as EventRow
from jobs.models import Job
from tests.admin.pages import inline_parts, job_url, links, log_in, messages_of, text
from tests.support.factory import make_job

PAIRS = [(name, status) for name in ACTIONS for status in Status]
ALLOWED = [
    (name, status) for name, status in PAIRS if set(events_for(status, Actor.OPERATOR)) & set(ACTIONS[name].events)
]


def test_every_event_of_an_operator_but_settle_has_an_action() -> None:
    theirs = {row.event for row in TRANSITIONS.values() if Actor.OPERATOR in row.actors}
    assert theirs == {event for action in ACTIONS.values() for event in action.events} | {Event.SETTLE}


@pytest.mark.parametrize(("name", "status"), PAIRS)
def test_a_button_is_there_exactly_when_the_table_allows_it(staff: Client, name: str, status: Status) -> None:
    job = make_job(status)
    is_offered = job_url(job, f"do/{name}/") in links(staff.get(job_url(job)))
    assert is_offered == ((name, status) in ALLOWED)


@pytest.mark.parametrize(("name", "status"), ALLOWED)
def test_an_action_asks_then_acts_and_is_recorded_twice(staff: Client, name: str, status: Status) -> None:
    job = make_job(status)
    url = job_url(job, f"do/{name}/")
    assert inline_parts(staff.get(url).content.decode()) == []
    assert Job.objects.get(pk=job.pk).version == job.version

    response = staff.post(url, follow=True)

    (expected,) = set(events_for(status, Actor.OPERATOR)) & set(ACTIONS[name].events)
    event = EventRow.objects.filter(job=job).latest("id")
    assert (event.event, event.actor, event.who) == (expected, Actor.OPERATOR, "staff")
    job.refresh_from_db()
    assert job.status == TRANSITIONS[expected].target
    entry = LogEntry.objects.get()
    assert (entry.user.get_username(), entry.object_id) == ("staff", str(job.pk))
    assert entry.change_message.startswith(expected.replace("_", " "))
    assert str(job.pk) in messages_of(response)[0]


@pytest.mark.parametrize(("name", "status"), [pair for pair in PAIRS if pair not in ALLOWED])
def test_a_lost_race_is_a_friendly_message_that_names_the_present_status(
    staff: Client, name: str, status: Status
) -> None:
    job = make_job(status)
    response = staff.post(job_url(job, f"do/{name}/"), follow=True)
    assert f"is {status.replace('_', ' ')} now" in messages_of(response)[0]
    assert Job.objects.get(pk=job.pk).status == status
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(("name", "status"), ALLOWED)
def test_an_action_needs_its_own_permission(db: None, name: str, status: Status) -> None:
    job = make_job(status)
    others = [f"jobs.{other}_job" for other in ACTIONS if other != name]
    bob = log_in("bob", "jobs.view_job", *others)
    url = job_url(job, f"do/{name}/")
    assert url not in links(bob.get(job_url(job)))
    assert bob.get(url).status_code == 403
    assert bob.post(url).status_code == 403
    assert Job.objects.get(pk=job.pk).status == status

    alice = log_in("alice", "jobs.view_job", f"jobs.{name}_job")
    assert url in links(alice.get(job_url(job)))
    assert alice.post(url).status_code == 302


def test_an_action_needs_a_csrf_token(staff: Client) -> None:
    job = make_job("queued")
    forger = Client(enforce_csrf_checks=True)
    forger.cookies = staff.cookies
    assert forger.post(job_url(job, "do/cancel/")).status_code == 403
    assert Job.objects.get(pk=job.pk).status == Status.QUEUED


def test_a_bulk_action_asks_first_and_then_says_what_became_of_each(staff: Client) -> None:
    queued, running, succeeded = make_job("queued"), make_job("running"), make_job("succeeded")
    chosen = {"action": "cancel_jobs", "_selected_action": [str(job.pk) for job in (queued, running, succeeded)]}

    asked = staff.post("/admin/jobs/job/", {**chosen, "index": 0})
    assert "3 jobs" in text(asked)
    assert inline_parts(asked.content.decode()) == []
    assert Job.objects.get(pk=queued.pk).status == Status.QUEUED

    told = messages_of(staff.post("/admin/jobs/job/", {**chosen, "confirmed": "yes"}, follow=True))
    assert told[0] == "3 jobs: 1 request cancel, 1 cancel, 1 left as they were."
    assert any(f"Job {succeeded.pk} is succeeded now" in sentence for sentence in told)
    assert Job.objects.get(pk=queued.pk).status == Status.CANCELLED
    assert Job.objects.get(pk=running.pk).cancel_requested_by == "staff"
    assert LogEntry.objects.count() == 2


def test_bulk_actions_are_offered_by_permission(db: None) -> None:
    job = make_job("failed")
    bob = log_in("bob", "jobs.view_job", "jobs.cancel_job")
    page = bob.get("/admin/jobs/job/")
    assert [name for name, _ in page.context["action_form"].fields["action"].choices if name] == ["cancel_jobs"]
    chosen = {"action": "rerun_jobs", "_selected_action": [str(job.pk)], "confirmed": "yes"}
    bob.post("/admin/jobs/job/", chosen)
    assert Job.objects.get(pk=job.pk).status == Status.FAILED
