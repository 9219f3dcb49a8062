"""POST of cancel and retry: what each status allows comes from the lifecycle table."""

from __future__ import annotations

import uuid

import pytest

from jobs.lifecycle import Actor, Event, Status, events_for, sources_of
from jobs.models import Event as EventRow
from jobs.models import Job
from tests.api.transports import Api
from tests.support.factory import make_job

EVENTS = {"cancel": (Event.CANCEL, Event.REQUEST_CANCEL), "retry": (Event.RERUN,)}


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("action", EVENTS)
def test_an_action_does_what_the_table_allows_and_names_it_otherwise(
    django_api: Api, action: str, status: Status
) -> None:
    job = make_job(status, client="alice")
    allowed = [event for event in events_for(status, Actor.CLIENT) if event in EVENTS[action]]
    answer = django_api.post(f"/api/jobs/{job.pk}/{action}")
    if not allowed:
        assert (answer.status, answer.code) == (409, "not-allowed")
        assert answer.json()["jobStatus"] == status
        assert answer.json()["allowed"] == sources_of(*EVENTS[action])
        assert Job.objects.get().status == status
        return
    event = EventRow.objects.filter(job=job).last()
    assert event is not None
    assert answer.status == (202 if allowed == [Event.REQUEST_CANCEL] else 200)
    assert (event.event, event.actor, event.who) == (allowed[0], "client", "alice")
    assert answer.json()["status"] == event.target == Job.objects.get().status


def test_asking_a_running_job_to_stop_twice_changes_nothing(django_api: Api) -> None:
    job = make_job(Status.RUNNING, client="alice")
    answers = [django_api.post(f"/api/jobs/{job.pk}/cancel") for _ in range(2)]
    assert [answer.status for answer in answers] == [202, 202]
    assert EventRow.objects.filter(job=job, event="request_cancel").count() == 1


@pytest.mark.parametrize("action", EVENTS)
def test_nobody_acts_on_a_job_that_is_not_his(django_api: Api, action: str) -> None:
    job = make_job(Status.QUEUED if action == "cancel" else Status.FAILED, client="bob")
    assert django_api.post(f"/api/jobs/{job.pk}/{action}").status == 404
    assert django_api.post(f"/api/jobs/{uuid.uuid4()}/{action}").status == 404
    assert not EventRow.objects.filter(job=job, who="alice").exists()


def test_a_client_that_sees_all_acts_on_all(django_api: Api) -> None:
    job = make_job(client="bob")
    chief = Api(django_api.transport, "chief", ["jobs:cancel", "jobs:all"])
    assert chief.post(f"/api/jobs/{job.pk}/cancel").status == 200
