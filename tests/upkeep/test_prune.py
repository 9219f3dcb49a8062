"""What goes by retention, and what stays whatever its age."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from typing import Any

import pytest
from django.db import connection

import jobs
import jobs.errors
from jobs import operate
from jobs.lifecycle import Actor
from jobs.models import DroppedSlots, Effect, Event, IdempotencyKey, Job, JobTag, Lease, LogLine, MinuteStat, Schedule
from jobs.prune import CHUNK, Counts, prune, would_prune

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def retention(settings: Any) -> None:
    settings.JOBS_JOB_RETENTION_DAYS = 30
    settings.JOBS_KEY_RETENTION_DAYS = 400
    settings.JOBS_STATS_RETENTION_DAYS = 100


def finished(status: str, age: dt.timedelta, **options: Any) -> uuid.UUID:
    """A job that reached `status` that long ago, with a row in every table that hangs on it."""
    job_id = jobs.submit("echo", {"value": "secret"}, tags=["a", "b"], **options).id
    Job.objects.filter(pk=job_id).update(
        status=status, finished_at=NOW - age, result={"value": "secret"}, error_code="oops", error_message="secret"
    )
    LogLine.objects.create(job_id=job_id, attempt=1, at=NOW, level="info", message="said")
    return job_id


def kept() -> set[uuid.UUID]:
    return set(Job.objects.values_list("id", flat=True))


def test_a_finished_job_goes_after_its_retention_with_all_that_hangs_on_it() -> None:
    finished("succeeded", 31 * DAY)
    young = finished("succeeded", 29 * DAY)
    assert prune(NOW).jobs == 1
    assert kept() == {young}
    for model in (Event, LogLine, JobTag):
        assert set(model.objects.values_list("job_id", flat=True)) == {young}


def test_failed_jobs_are_kept_three_times_as_long() -> None:
    young = finished("failed", 89 * DAY)
    finished("failed", 91 * DAY)
    finished("cancelled", 31 * DAY)
    assert prune(NOW).jobs == 2
    assert kept() == {young}


def test_open_jobs_are_never_pruned() -> None:
    job_id = jobs.submit("echo").id
    Job.objects.update(created_at=NOW - 1000 * DAY, queued_at=NOW - 1000 * DAY)
    assert prune(NOW).jobs == 0
    assert kept() == {job_id}


def test_a_job_with_an_effect_in_doubt_is_never_pruned() -> None:
    doubtful = finished("cancelled", 1000 * DAY)
    settled = finished("cancelled", 1000 * DAY)
    Job.objects.update(has_effects=True)
    Effect.objects.create(job_id=doubtful, name="send", status="in_doubt", attempt=1)
    Effect.objects.create(job_id=settled, name="send", status="done", attempt=1)
    assert prune(NOW).jobs == 1
    assert kept() == {doubtful}
    assert Effect.objects.count() == 1


def test_a_pruned_job_leaves_a_tombstone_and_its_replay_is_still_answered() -> None:
    job_id = finished("failed", 91 * DAY, key="k")
    prune(NOW)
    tombstone = IdempotencyKey.objects.get().tombstone
    assert (tombstone["id"], tombstone["status"], tombstone["result"]) == (str(job_id), "failed", None)
    assert tombstone["error"] == {"code": "oops", "message": ""}
    assert "secret" not in str(tombstone)
    replay = jobs.submit("echo", {"value": "secret"}, tags=["a", "b"], key="k")
    assert (replay.id, replay.is_new, replay.document["status"]) == (job_id, False, "failed")
    assert not Job.objects.exists()


def test_a_key_outlives_its_job_and_goes_after_its_own_retention() -> None:
    finished("succeeded", 31 * DAY, key="old")
    finished("succeeded", 31 * DAY, key="young")
    IdempotencyKey.objects.filter(key="old").update(created_at=NOW - 401 * DAY)
    counts = prune(NOW)
    assert (counts.jobs, counts.keys) == (2, 1)
    assert IdempotencyKey.objects.get().key == "young"


def test_a_key_stays_as_long_as_its_job() -> None:
    jobs.submit("echo", key="k", delay_s=10**8)
    IdempotencyKey.objects.update(created_at=NOW - 1000 * DAY)
    assert prune(NOW).keys == 0


def test_old_statistics_and_revoked_leases_go() -> None:
    for age in (99, 101):
        MinuteStat.objects.create(minute=NOW - age * DAY, queue="q", type="t", outcome="succeed", worker=str(age))
    live, fresh, busy, old = (uuid.uuid4() for _ in range(4))
    for lease_id, revoked_at in ((live, None), (fresh, NOW), (busy, NOW - 2 * DAY), (old, NOW - 2 * DAY)):
        Lease.objects.create(id=lease_id, worker="w", parent_pid=1, parent_started=1, revoked_at=revoked_at)
    jobs.submit("echo")
    Job.objects.update(status="running", lease_id=busy)
    counts = prune(NOW)
    assert (counts.stats, counts.leases) == (1, 1)
    assert set(Lease.objects.values_list("id", flat=True)) == {live, fresh, busy}


def test_a_dry_run_counts_and_deletes_nothing() -> None:
    finished("succeeded", 31 * DAY, key="k")
    assert would_prune(NOW) == Counts(jobs=1)
    assert Job.objects.count() == 1


def test_each_commit_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.prune.CHUNK", 2)
    for _ in range(5):
        finished("succeeded", 31 * DAY)
    told: list[int] = []
    prune(NOW, on_chunk=lambda counts: told.append(counts.jobs))
    assert told == [2, 4, 5]


@pytest.mark.django_db(transaction=True)
def test_a_job_that_is_run_anew_at_the_same_moment_is_either_pruned_or_kept_whole() -> None:
    ids = [finished("failed", 91 * DAY) for _ in range(40)]
    barrier = threading.Barrier(2)
    rerun: list[uuid.UUID] = []

    def run_anew() -> None:
        barrier.wait()
        for job_id in reversed(ids):
            try:
                operate.rerun(job_id, actor=Actor.OPERATOR, who="alice")
                rerun.append(job_id)
            except jobs.errors.JobNotFound:
                pass
        connection.close()

    thread = threading.Thread(target=run_anew)
    thread.start()
    barrier.wait()
    pruned = prune(NOW).jobs
    thread.join()
    assert kept() == set(rerun)
    assert pruned + len(rerun) == len(ids)
    assert set(Event.objects.values_list("job_id", flat=True)) == set(rerun)


def test_records_of_dropped_slots_are_kept_as_long_as_jobs() -> None:
    schedule = Schedule.objects.create(name="beat", type="echo", cron="* * * * *", pointer=NOW)
    for age in (*[31 * DAY] * (CHUNK + 1), 29 * DAY):
        DroppedSlots.objects.create(schedule=schedule, first=NOW, last=NOW, count=1, because="catch-up", at=NOW - age)
    assert would_prune(NOW) == Counts(drops=CHUNK + 1)
    commits: list[int] = []
    assert prune(NOW, on_chunk=lambda counts: commits.append(counts.drops)) == Counts(drops=CHUNK + 1)
    assert commits == [CHUNK, CHUNK + 1]
    assert [row.at for row in DroppedSlots.objects.all()] == [NOW - 29 * DAY]
