"""Two hands on one job in the same moment, many times, on the real tables."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import pytest
from django.db import transaction

from jobs import lifecycle, operate, transitions
from jobs.errors import CancelRequested, LeaseLost, NotAllowed
from jobs.lifecycle import Actor, End, Event, Status
from jobs.models import Effect, Job
from jobs.models import Event as EventRow
from tests.support import lives
from tests.support.threads import together

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 50

HEAD_STARTS_S = (0.0, 0.002, -0.002, 0.02, -0.02)
"""Of one hand before the other: on some machines the race would always go the same way."""


def after(seconds: float, act: Callable[[], Any]) -> Any:
    time.sleep(max(0.0, seconds))
    return act()


def is_lawful(job_id: uuid.UUID) -> bool:
    """Whether the job's events lead from one to the next as the table says, and to where the job stands."""
    at: str | None = None
    attempt = 0
    for event in EventRow.objects.filter(job_id=job_id).order_by("pk"):
        if event.event != Event.SUBMIT:
            row = lifecycle.TRANSITIONS[Event(event.event)]
            assert event.source == at
            assert event.source in row.sources
            assert event.target == row.target
            assert event.attempt == attempt + (event.event == Event.START)
        at, attempt = event.target, event.attempt
    job = Job.objects.get(pk=job_id)
    assert (job.status, job.attempt) == (at, attempt)
    assert job.version == EventRow.objects.filter(job_id=job_id).count()
    return True


@pytest.mark.parametrize("on_doubt", ["hold", "skip", "repeat"])
def test_an_effects_commit_against_an_expiry_is_neither_run_twice_nor_overlooked(on_doubt: str) -> None:
    runs: dict[uuid.UUID, list[int]] = {}

    def act(claimed: Any) -> None:
        with lives.context_of(claimed).effect("send", on_doubt=on_doubt) as effect:
            if effect.pending:
                runs.setdefault(claimed.row.id, []).append(claimed.row.attempt)

    seen = set()
    for number in range(ROUNDS // 2):
        claimed = lives.claim(lives.submit())
        head_start_s = HEAD_STARTS_S[number % len(HEAD_STARTS_S)]
        lost, _ = together(
            partial(after, -head_start_s, partial(act, claimed)),
            partial(after, head_start_s, partial(lives.expire, cast(uuid.UUID, claimed.row.lease_id))),
        )
        assert lost is None or isinstance(lost, LeaseLost), lost
        job = Job.objects.get(pk=claimed.row.id)
        status = Effect.objects.filter(job_id=job.pk).values_list("status", flat=True).first()
        seen.add((job.status, status))
        assert is_lawful(job.pk)
        assert status != "executing"
        assert (job.status == Status.IN_DOUBT) == (status == "in_doubt" and on_doubt == "hold")
        if job.status == Status.QUEUED:
            act(lives.claim(job.pk))
        ran = runs.get(job.pk, [])
        if on_doubt == "repeat" and status == "in_doubt":
            assert ran == [1, 2]
        elif job.status == Status.QUEUED:
            assert len(ran) == 1
        else:
            assert ran == [1]
    assert len(seen) > 1, "the race always went the same way"


@pytest.mark.parametrize("how", lives.ENDS)
def test_a_cancel_against_the_end_of_an_attempt_is_never_lost(how: End) -> None:
    for _ in range(ROUNDS // 5):
        row = lives.claim(lives.submit()).row
        asked, ended = together(
            partial(operate.cancel, row.id, actor=Actor.CLIENT, who="alice"), partial(lives.end, row, how)
        )
        job = Job.objects.get(pk=row.id)
        assert len(ended) == 1
        assert is_lawful(row.id)
        if isinstance(asked, NotAllowed):
            assert job.status in ("succeeded", "failed")
            assert job.cancel_requested_at is None
        else:
            assert job.status == ("succeeded" if how is End.RETURNED else "cancelled")


def claim_all(ids: list[uuid.UUID]) -> list[transitions.Claimed]:
    lease_id = lives.open_lease()
    with transaction.atomic():
        return transitions.claim(ids, lease_id=lease_id, worker="w1")


def test_two_claims_at_once_open_one_attempt() -> None:
    for _ in range(ROUNDS // 5):
        ids = [lives.submit() for _ in range(4)]
        found = together(
            *[lambda order=order: claim_all(order) for order in
              (ids, ids[::-1], ids, ids[::-1])]
        )  # fmt: skip
        assert sum(len(claims) for claims in found) == 4, found
        assert set(Job.objects.filter(pk__in=ids).values_list("attempt", flat=True)) == {1}


def test_two_housekeepers_at_once_expire_each_job_once() -> None:
    for _ in range(ROUNDS // 5):
        lease_id = lives.open_lease()
        ids = [lives.claim(lives.submit(), lease_id).row.id for _ in range(5)]
        together(*[lambda lease=lease_id: lives.expire(lease)] * 3)
        assert set(Job.objects.filter(pk__in=ids).values_list("status", "crashes")) == {("queued", 1)}
        assert all(is_lawful(job_id) for job_id in ids)


def test_a_rerun_and_a_rerun_grant_one_new_allowance() -> None:
    for _ in range(ROUNDS // 5):
        job_id = lives.submit()
        operate.cancel(job_id, actor=Actor.CLIENT, who="alice")
        found = together(*[lambda i=job_id: operate.rerun(i, actor=Actor.CLIENT, who="alice")] * 3)
        assert sum(isinstance(one, NotAllowed) for one in found) == 2
        job = Job.objects.get(pk=job_id)
        assert (job.failures_allowed, job.crashes_allowed, job.cancel_requested_at) == (10, 6, None)


def test_an_end_that_is_recorded_twice_counts_once() -> None:
    for _ in range(ROUNDS // 5):
        row = lives.claim(lives.submit()).row
        found = together(*[lambda r=row: lives.end(r, End.RAISED)] * 3)
        assert sorted(len(one) for one in found) == [0, 0, 1]
        assert Job.objects.get(pk=row.id).failures == 1


def test_a_cancel_at_the_entry_of_an_effect_happens_before_it_or_after_it() -> None:
    for _ in range(ROUNDS // 2):
        claimed = lives.claim(lives.submit())
        runs: list[int] = []

        def act(claimed: Any = claimed, runs: list[int] = runs) -> None:
            with lives.context_of(claimed).effect("send"):
                runs.append(1)

        stopped, _ = together(act, partial(operate.cancel, claimed.row.id, actor=Actor.CLIENT, who="alice"))
        assert stopped is None or isinstance(stopped, CancelRequested), stopped
        effects = list(Effect.objects.filter(job_id=claimed.row.id).values_list("status", flat=True))
        assert (runs, effects) == (([], []) if stopped else ([1], ["done"]))
