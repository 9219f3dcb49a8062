"""echo under a real worker: what it is for."""

from __future__ import annotations

import time
import uuid
from typing import Any

import jobs
from jobs import operate
from jobs.lifecycle import Actor
from jobs.models import Effect, Event, Job
from tests.support.eventually import eventually
from tests.support.world import World


def submit(**payload: Any) -> uuid.UUID:
    return jobs.submit("echo", payload).id


def reached(job_id: uuid.UUID, *statuses: str, timeout_s: float = 20) -> Job:
    def look() -> Job | None:
        return Job.objects.filter(pk=job_id, status__in=statuses).first()

    found = eventually(look, timeout_s=timeout_s)
    assert found is not None
    return found


def events(job_id: uuid.UUID) -> list[str]:
    return list(Event.objects.filter(job_id=job_id).values_list("event", flat=True))


def test_two_failures_two_backoffs_and_success_at_the_third_attempt(world: World) -> None:
    world.worker()
    job_id = submit(failTimes=2, value="v")
    assert reached(job_id, "succeeded").result == {"value": "v", "attempt": 3}
    assert events(job_id) == [
        "submit", "start", "retry", "promote", "start", "retry", "promote", "start", "succeed",
    ]  # fmt: skip


def test_a_crash_takes_the_process_and_is_charged_to_the_job(world: World) -> None:
    world.worker()
    job_id = submit(crashTimes=1)
    job = reached(job_id, "succeeded")
    assert (job.crashes, job.failures, job.attempt) == (1, 0, 2)


def test_a_cancel_ends_a_sleeping_job_soon(world: World) -> None:
    world.worker()
    job_id = submit(sleepSeconds=60)
    reached(job_id, "running")
    began = time.monotonic()
    operate.cancel(job_id, actor=Actor.OPERATOR, who="alice")
    reached(job_id, "cancelled")
    assert time.monotonic() - began < 20


def test_a_stop_releases_a_sleeping_job_and_charges_nothing(world: World) -> None:
    worker = world.worker()
    job_id = submit(sleepSeconds=30)
    reached(job_id, "running")
    began = time.monotonic()
    assert worker.stop() == 0, worker.log
    assert time.monotonic() - began < 20
    job = Job.objects.get(pk=job_id)
    assert (job.status, job.failures, job.crashes) == ("queued", 0, 0)
    assert "release" in events(job_id)


def test_a_kill_inside_an_effect_leaves_one_line_and_a_doubt(world: World) -> None:
    worker = world.worker()
    job_id = submit(effect="charge", effectSleepSeconds=30)

    def has_begun() -> bool:
        assert world.ledger(), worker.log
        return True

    eventually(has_begun, timeout_s=20)
    worker.kill()
    world.worker()
    reached(job_id, "in_doubt")
    operate.settle(job_id, "charge", is_done=True, evidence="the ledger says so", who="alice")
    reached(job_id, "succeeded")
    assert [line[:2] for line in world.ledger()] == [[str(job_id), "charge"]]
    assert Effect.objects.get().status == "done"
