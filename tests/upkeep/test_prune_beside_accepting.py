"""Pruning disturbs nobody: its commits are small, and others get their turn between two of them."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from typing import Any

import pytest
from django.db import connection

import jobs
from jobs.envelope import parse
from jobs.models import Event, Job, JobTag, LogLine
from jobs.prune import CHUNK, Counts, prune
from jobs.submission import submit_many

NOW = dt.datetime.now(dt.UTC)
CHUNKS = 4

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def old_jobs(settings: Any) -> None:
    settings.JOBS_JOB_RETENTION_DAYS = 30
    requests = [parse({"type": "echo", "tags": ["a"]}, client="alice", source="api")] * (CHUNKS * CHUNK)
    ids = [made.id for made in submit_many(requests) if not isinstance(made, Exception)]
    LogLine.objects.bulk_create(LogLine(job_id=i, attempt=1, at=NOW, level="info", message="said") for i in ids)
    Job.objects.update(status="succeeded", finished_at=NOW - dt.timedelta(days=31))


def submit_elsewhere() -> uuid.UUID | None:
    """By a thread with a connection of its own; None when it has to wait for somebody."""
    made: list[uuid.UUID] = []

    def submit() -> None:
        made.append(jobs.submit("echo").id)
        connection.close()

    thread = threading.Thread(target=submit)
    thread.start()
    thread.join(timeout=5)
    return made[0] if made else None


def test_a_job_is_accepted_between_any_two_commits(old_jobs: None) -> None:
    accepted: list[uuid.UUID | None] = []
    prune(NOW, on_chunk=lambda _: accepted.append(submit_elsewhere()))
    assert len(accepted) == CHUNKS
    assert set(Job.objects.values_list("pk", flat=True)) == set(accepted)


def test_a_commit_takes_a_chunk_of_jobs_with_all_that_hangs_on_them_and_no_more(old_jobs: None) -> None:
    left: list[list[int]] = []

    def count(_: Counts) -> None:
        left.append([model.objects.count() for model in (Job, Event, JobTag, LogLine)])

    prune(NOW, on_chunk=count)
    assert left == [[CHUNK * chunks] * 4 for chunks in reversed(range(CHUNKS))]
