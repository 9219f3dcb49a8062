"""Each answer to "why is it not running?"."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest

import jobs
from jobs import operate, queue, why
from jobs.lifecycle import Actor
from jobs.models import Effect, Housekeeping, Job, Lease
from jobsite import broker
from tests.support import sandbox
from tests.support import world as worlds

pytestmark = pytest.mark.django_db

NOW = dt.datetime.now(dt.UTC)


def submit(**options: Any) -> Job:
    return Job.objects.get(pk=jobs.submit("echo", **options).id)


def worker(*queues: str, concurrency: int = 2) -> Lease:
    return Lease.objects.create(
        id=uuid.uuid4(), worker="w1", queues=list(queues), concurrency=concurrency, parent_pid=1, parent_started=1
    )


def answer(job: Job) -> dict[str, str]:
    found = why.waiting(Job.objects.get(pk=job.pk))
    assert found is not None
    assert set(found) == {"code", "sentence", "nextStep"}
    assert found["sentence"].endswith(".")
    return found


def run(job: Job, lease: Lease, **columns: Any) -> None:
    Job.objects.filter(pk=job.pk).update(status="running", lease=lease, attempt=1, started_at=NOW, **columns)


def test_not_due() -> None:
    assert answer(submit(delay_s=3600))["code"] == "not-due"


def test_backing_off_after_a_failure() -> None:
    job = submit(delay_s=3600)
    Job.objects.update(failures=2, error_code="oops")
    said = answer(job)
    assert said["code"] == "not-due"
    assert "2 of 5 failures" in said["sentence"]
    assert "oops" in said["sentence"]


def test_due_but_nobody_keeps_house() -> None:
    job = submit(delay_s=3600)
    Job.objects.update(run_after=NOW - dt.timedelta(minutes=1))
    assert answer(job)["code"] == "no-housekeeping"
    Housekeeping.objects.update_or_create(pk=1, defaults={"expires_at": NOW + dt.timedelta(minutes=1)})
    assert answer(job)["code"] == "not-due"


def test_paused_by_whom_since_when() -> None:
    job = submit()
    operate.pause_queue("default", "alice")
    said = answer(job)
    assert said["code"] == "paused"
    assert "by alice since 20" in said["sentence"]


def test_no_worker_on_that_queue() -> None:
    worker("high")
    Lease.objects.create(
        id=uuid.uuid4(), worker="dead", queues=["default"], parent_pid=1, parent_started=1, revoked_at=NOW
    )
    said = answer(submit())
    assert said["code"] == "no-worker"
    assert "rqworker default" in said["nextStep"]


def test_a_worker_that_is_silent_counts_as_none() -> None:
    worker("default")
    Lease.objects.update(renewed_at=NOW - dt.timedelta(minutes=1))
    said = answer(submit())
    assert said["code"] == "no-worker"
    assert "w1 did, but has been silent since 20" in said["sentence"]


def test_all_handler_threads_held_by_which_jobs_since_when() -> None:
    lease = worker("default")
    first, second, waiting = submit(), submit(), submit()
    run(first, lease)
    assert answer(waiting)["code"] == "ahead"
    run(second, lease)
    said = answer(waiting)
    assert said["code"] == "threads-busy"
    assert str(first.id) in said["sentence"]
    assert "since 20" in said["sentence"]


def test_n_ahead_and_the_next_one() -> None:
    worker("default")
    first, _, third = submit(), submit(), submit()
    assert answer(first)["code"] == "next"
    said = answer(third)
    assert (said["code"], said["sentence"]) == ("ahead", "2 jobs are ahead of it in default.")


def test_jobs_ahead_are_counted_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(why, "MOST_AHEAD", 1)
    worker("default")
    submit(), submit()
    assert answer(submit())["sentence"].startswith("more than 1 jobs")


def test_workers_suspended_through_rq() -> None:
    worker("default")
    queue.broker().set(queue.SUSPENDED, 1)
    assert answer(submit())["code"] == "suspended"


def test_broker_unreachable() -> None:
    worker("default")
    job = submit()
    broker.stop(sandbox.folder())
    try:
        assert answer(job)["code"] == "broker-unreachable"
    finally:
        worlds.start_broker()


def test_running_and_asked_to_stop() -> None:
    lease = worker("default")
    job = submit()
    run(job, lease)
    said = answer(job)
    assert said["code"] == "running"
    assert "attempt 1 on w1" in said["sentence"]
    operate.cancel(job.id, actor=Actor.OPERATOR, who="alice")
    said = answer(job)
    assert said["code"] == "cancel-requested"
    assert "alice" in said["sentence"]


def test_an_effect_in_doubt_since_when() -> None:
    job = submit()
    Job.objects.update(status="in_doubt", has_effects=True)
    Effect.objects.create(job=job, name="charge", status="in_doubt", attempt=1, ended_at=NOW)
    said = answer(job)
    assert said["code"] == "effect-in-doubt"
    assert "charge" in said["sentence"]
    assert f"effects settle {job.id} charge" in said["nextStep"]


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled"])
def test_a_job_that_is_over_waits_for_nothing(status: str) -> None:
    job = submit()
    Job.objects.update(status=status, finished_at=NOW)
    job.refresh_from_db()
    assert why.waiting(job) is None
