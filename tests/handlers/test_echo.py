"""echo does what its payload says, and nothing else."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

import jobs
from jobs.conf import conf
from jobs.errors import InvalidPayload
from jobs.models import Effect, Event
from tests.handlers.attempts import attempt
from tests.support.world import World

pytestmark = pytest.mark.django_db(transaction=True)


def submit(**payload: Any) -> Any:
    return jobs.submit("echo", payload).id


@pytest.mark.parametrize("value", [None, 0, "text", [1, {"a": None}], {"b": 1.5}])
def test_it_returns_its_value_and_attempt(value: Any) -> None:
    assert attempt(submit(value=value)).result == {"value": value, "attempt": 1}


def test_it_fails_as_often_as_it_is_told_and_then_succeeds() -> None:
    job_id = submit(failTimes=2)
    assert attempt(job_id).status == "scheduled"
    assert attempt(job_id).failures == 2
    job = attempt(job_id)
    assert (job.status, job.result) == ("succeeded", {"value": None, "attempt": 3})
    backoffs = Event.objects.filter(job=job, event="retry")
    assert all(event.run_after is not None and event.run_after >= event.at for event in backoffs)
    assert len(backoffs) == 2


@pytest.mark.parametrize("payload", [{"permanent": True}, {"permanent": True, "failTimes": 1}])
def test_a_permanent_failure_ends_it(payload: dict[str, Any]) -> None:
    job = attempt(submit(**payload))
    assert (job.status, job.error_code, job.attempt) == ("failed", "asked-to-fail", 1)


def test_an_effect_is_one_line_in_the_ledger_before_the_failure() -> None:
    job_id = submit(effect="charge", failTimes=1)
    attempt(job_id)
    attempt(job_id)
    (line,) = conf().effects_log.read_text().splitlines()
    job, effect, number, time, key = line.split(" ")
    assert (job, effect, number, key) == (str(job_id), "charge", "1", Effect.objects.get().key)
    assert dt.datetime.fromisoformat(time).tzinfo is not None
    assert conf().effects_log.stat().st_mode & 0o777 == 0o600


def test_progress_goes_to_its_last_step() -> None:
    assert attempt(submit(progressSteps=3)).progress == {"current": 3, "total": 3, "message": "step 3 of 3"}


@pytest.mark.parametrize(
    "payload",
    [
        {"vaule": 1},
        {"sleepSeconds": -1},
        {"failTimes": "two"},
        {"onDoubt": "shrug"},
        {"effect": "two words"},
        {"sleep_seconds": 1},
    ],
)
def test_a_payload_that_makes_no_sense_is_refused(payload: dict[str, Any]) -> None:
    with pytest.raises(InvalidPayload):
        submit(**payload)


def test_it_exists_only_with_the_demo_switched_on(world: World) -> None:
    code, log = world.run("enqueue_system_job", "echo", JOBS_DEMO="0")
    assert code == 2
    assert "no handler is registered for the type 'echo'" in log
