"""What Redis is owed after an outage: bounded, paid in small calls, and not tried again."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import pytest

from jobs import mirror, owed, queue
from jobs.lifecycle import End
from jobs.owed import Owed
from jobs.rows import Row, mirror_entry
from jobsite import broker
from tests.records.test_recorder import Turns
from tests.support import lives, sandbox

pytestmark = pytest.mark.django_db


def ended(*ends: End) -> tuple[list[uuid.UUID], list[Row]]:
    """Jobs whose attempts ended so, each with more than 1,000 bytes for Redis, which is empty."""
    turns, ids = Turns(), [lives.submit() for _ in ends]
    rows = turns.end(turns.claim(ids), ends).moved
    queue.broker().flushall()
    return ids, [row._replace(result=f'"{"x" * 1000}"') for row in rows]


def in_redis(ids: Sequence[uuid.UUID]) -> list[bool]:
    return [mirror.peek(job_id) is not None for job_id in ids]


def paid(debt: Owed, ids: Sequence[uuid.UUID]) -> list[int]:
    """How many mirrors stand in Redis after each call."""
    counts = []
    while debt:
        debt.pay()
        counts.append(sum(in_redis(ids)))
    return counts


def test_redis_is_owed_what_stays_true_until_it_has_it() -> None:
    ids, rows = ended(End.RETURNED, End.RAISED, End.RETURNED)
    debt = Owed()
    debt.remember(rows)
    assert paid(debt, ids) == [2]
    assert in_redis(ids) == [True, False, True]


def test_it_is_bounded_in_bytes_and_paid_in_small_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    ids, rows = ended(*[End.RETURNED] * 6)
    size = max(len(mirror_entry(row)[1]) for row in rows)
    monkeypatch.setattr(owed, "MOST_BYTES", 4.5 * size)
    monkeypatch.setattr(owed, "PAID_BYTES", 2.5 * size)
    debt = Owed()
    debt.remember(rows)
    assert paid(debt, ids) == [2, 4]


def test_it_is_bounded_in_number_and_one_large_mirror_is_paid_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    ids, rows = ended(*[End.RETURNED] * 6)
    monkeypatch.setattr(owed, "MOST", 3)
    monkeypatch.setattr(owed, "PAID_BYTES", 1)
    debt = Owed()
    debt.remember(rows)
    assert paid(debt, ids) == [1, 2, 3]
    assert in_redis(ids) == [False] * 3 + [True] * 3


def test_what_redis_does_not_take_is_not_tried_again() -> None:
    _, rows = ended(End.RETURNED)
    debt = Owed()
    debt.remember(rows)
    broker.stop(sandbox.folder())
    with pytest.raises(queue.OUTAGE):
        debt.pay()
    assert not debt
