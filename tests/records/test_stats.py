"""Statistics agree with the events that they tell of."""

from __future__ import annotations

from collections import Counter

import pytest
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from jobs import stats, transitions
from jobs.lifecycle import Actor, End, Event
from jobs.models import Event as EventRow
from jobs.models import Job, MinuteStat
from jobs.models.stat import BUCKETS_MS
from tests.support import factory, lives
from tests.support.threads import together

pytestmark = pytest.mark.django_db(transaction=True)

BUCKETS = len(BUCKETS_MS) + 1


def end_counted(how: End, run_s: float = 0.01, *, is_held: bool = False, is_cancelled: bool = False) -> None:
    """One attempt, ended and counted in one transaction, as a horse does."""
    row = lives.claim(lives.submit()).row
    if is_held:
        factory.make_effect(Job.objects.get(pk=row.id), status="executing")
    if is_cancelled:
        Job.objects.filter(pk=row.id).update(cancel_requested_at=timezone.now())
    ended = lives.ended(row, how, has_effects=is_held)
    with transaction.atomic():
        (after,) = transitions.end_attempts([ended], actor=Actor.WORKER, who="w1")
        stats.add([(row, after, run_s)], "w1")


def counted() -> dict[str, int]:
    found = MinuteStat.objects.values("outcome").annotate(total=Sum("count")).values_list("outcome", "total")
    return dict(found)


def test_the_sums_equal_the_events() -> None:
    for how in lives.ENDS:
        end_counted(how)
        end_counted(how)
    end_counted(End.RAISED, is_held=True)
    end_counted(End.RAISED, is_cancelled=True)
    events = Counter(EventRow.objects.exclude(event__in=(Event.SUBMIT, Event.START)).values_list("event", flat=True))
    assert counted() == dict(events)
    assert set(events) == {"succeed", "retry", "fail", "release", "expire", "doubt", "abort"}


def test_every_attempt_stands_in_one_bucket_of_each_histogram() -> None:
    for run_s in (0, 0.004, 0.005, 0.02, 0.9, 60, 10_000):
        end_counted(End.RETURNED, run_s)
    sums = MinuteStat.objects.aggregate(
        **{f"{kind}_{i}": Sum(f"{kind}_{i}") for kind in ("wait", "run") for i in range(BUCKETS)},
        count=Sum("count"), run_ms=Sum("run_ms"),
    )  # fmt: skip
    for kind in ("wait", "run"):
        assert sum(sums[f"{kind}_{i}"] for i in range(BUCKETS)) == sums["count"] == 7
    assert sums["run_0"] == 3
    assert sums[f"run_{BUCKETS - 1}"] == 1
    assert sums["run_ms"] == 10_060_929


def test_horses_that_add_at_once_lose_nothing() -> None:
    def add() -> None:
        for _ in range(5):
            end_counted(End.RETURNED)

    together(*[add] * 4)
    assert counted() == {"succeed": 20}
