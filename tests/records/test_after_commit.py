"""What is committed is told as committed: nothing that follows a commit can fail its caller, and housekeeping repairs it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from django.db import connection, transaction

import jobs
from jobs import failpoints, keys, leases, operate, queue, reconcile, submission
from jobs.envelope import parse
from jobs.lifecycle import Actor
from jobs.models import Job
from jobs.redis_client import broker
from tests.support import lives

pytestmark = pytest.mark.django_db(transaction=True)

ODD = [
    NotImplementedError("This backend does not support this feature"),
    AttributeError("'NoneType' object has no attribute 'send'"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    RuntimeError("Set changed size during iteration"),
    MemoryError(),
    redis.exceptions.ConnectionError("gone"),
    OSError("gone"),
    ValueError("odd"),
]
EACH = pytest.mark.parametrize("error", ODD, ids=lambda error: type(error).__name__)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """No breaker is open from the test before."""
    queue._quiet_until = 0.0
    yield
    queue._quiet_until = 0.0


def break_redis(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    for name in ("evalsha", "eval", "execute_command", "pipeline"):
        monkeypatch.setattr(redis.Redis, name, fail)


def only_job() -> Job:
    return Job.objects.get()


def echo(**options: Any) -> submission.Submitted:
    return jobs.submit("echo", {"value": "v"}, **options)


def in_transaction(call: Callable[[], Any]) -> Any:
    with transaction.atomic():
        return call()


def many() -> submission.Outcome:
    (found,) = submission.submit_many([parse({"type": "echo", "payload": {}}, client="c", source="python")])
    return found


def grouped() -> submission.Outcome:
    (found,) = submission.offer([parse({"type": "echo", "payload": {}}, client="c", source="api")]).result(10)
    return found


WAYS = {"alone": echo, "in a transaction": lambda: in_transaction(echo), "many": many, "the API's group": grouped}


@EACH
@pytest.mark.parametrize("way", WAYS)
def test_an_accepted_job_is_told_as_accepted_whatever_redis_raises(
    error: Exception, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        break_redis(broken, error)
        found = WAYS[way]()
    assert isinstance(found, submission.Submitted)
    assert only_job().id == found.id
    reconcile.reconcile(is_thorough=True)
    assert queue.broker().lrange("rq:queue:default", 0, -1) == [str(found.id).encode()]


@EACH
def test_a_client_that_cannot_be_made_is_no_reason_to_refuse(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def stated() -> redis.Redis:
        raise error

    monkeypatch.setattr("jobs.redis_client.stated", stated)
    broker.cache_clear()
    try:
        found = in_transaction(echo)
    finally:
        broker.cache_clear()
    assert only_job().id == found.id


@EACH
def test_a_replay_is_answered_whatever_its_counter_raises(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> None:
        raise error

    first = echo(key="k")
    monkeypatch.setattr(keys, "note_replays", fail)
    assert echo(key="k").id == first.id
    assert in_transaction(lambda: echo(key="k")).id == first.id


class OddHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError("a handler of the project's log")


@contextlib.contextmanager
def odd_log() -> Iterator[None]:
    root, handler = logging.getLogger(), OddHandler()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


@pytest.mark.parametrize("way", WAYS)
def test_a_log_that_raises_does_not_make_an_accepted_job_a_refused_one(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_redis(monkeypatch, RuntimeError("odd"))
    with odd_log():
        found = WAYS[way]()
    assert isinstance(found, submission.Submitted)
    assert only_job().id == found.id


@EACH
def test_what_is_done_to_a_job_is_told_as_done(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    found = echo()
    break_redis(monkeypatch, error)
    with odd_log():
        operate.cancel(found.id, actor=Actor.OPERATOR, who="test")
        assert only_job().status == "cancelled"
        in_transaction(lambda: operate.rerun(found.id, actor=Actor.OPERATOR, who="test"))
        assert only_job().status == "queued"


@EACH
def test_a_lease_is_ended_whatever_redis_raises(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    row = lives.claim(echo().id).row
    assert row.lease_id is not None
    break_redis(monkeypatch, error)
    moved = leases.end_lease(row.lease_id, leases.released, actor=Actor.WORKER, who="test")
    assert [row.status for row in moved] == ["queued"]


@pytest.mark.parametrize("action", ["raise", "drop"])
@pytest.mark.parametrize("key", [None, "k"])
def test_a_commit_whose_answer_was_lost_is_told_as_made(
    action: str, key: str | None, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    failpoints.arm((failpoints.Point("submit.after_commit", 1, action),), tmp_path)
    try:
        found = echo(key=key)
    finally:
        failpoints.arm((), tmp_path)
    assert only_job().id == found.id
    assert found.is_new


def test_with_autocommit_off_nothing_is_told_before_the_caller_commits() -> None:
    echo()  # the connection is there
    transaction.set_autocommit(False)
    try:
        found = echo()
        operate.cancel(found.id, actor=Actor.OPERATOR, who="test")
        assert not queue.broker().exists(f"jobs:status:{found.id}")
        connection.rollback()
    finally:
        transaction.set_autocommit(True)
    assert not Job.objects.filter(pk=found.id).exists()


def test_another_hook_that_raises_before_ours_takes_no_job_away() -> None:
    def odd() -> None:
        raise RuntimeError("a hook of the project")

    def both() -> None:
        transaction.on_commit(odd)
        echo()

    with pytest.raises(RuntimeError):
        in_transaction(both)
    found = only_job()
    reconcile.reconcile(is_thorough=True)
    assert queue.broker().lrange("rq:queue:default", 0, -1) == [str(found.id).encode()]
