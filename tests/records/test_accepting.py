"""Accepting for real: commits, threads, groups, and what happens without Redis or the database."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from django.db import DatabaseError, OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

import jobs
from jobs import envelope, failpoints, keys, mirror, prune, queue, submission
from jobs.errors import DatabaseUnavailable, KeyReused
from jobs.group import LARGEST, Group
from jobs.models import Event, IdempotencyKey, Job
from jobs.submission import Submitted, accept
from jobs.transitions.events import CHUNK
from jobsite import broker
from tests.records.databases import locked
from tests.records.test_submission import request
from tests.support import lives, sandbox
from tests.support.eventually import eventually
from tests.support.threads import together

pytestmark = pytest.mark.django_db(transaction=True)


def listed(name: str = "default") -> list[bytes]:
    return cast("list[bytes]", queue.broker().lrange(queue.LIST + name, 0, -1))


# --- races -------------------------------------------------------------------------------------------


def test_fifty_identical_requests_at_once_make_one_job_and_forty_nine_replays() -> None:
    found = together(*[lambda: jobs.submit("echo", {"value": 1}, key="k")] * 50)
    assert all(isinstance(one, Submitted) for one in found), found
    assert len({one.id for one in found}) == 1
    assert sorted(one.is_new for one in found) == [False] * 49 + [True]
    assert (Job.objects.count(), Event.objects.count(), IdempotencyKey.objects.count()) == (1, 1, 1)
    assert IdempotencyKey.objects.get().replays == 49
    assert listed() == [str(found[0].id).encode()]


def test_fifty_offers_at_once_make_one_job_and_forty_nine_replays() -> None:
    found = together(*[lambda: submission.offer([request(idempotencyKey="k")]).result(30)[0]] * 50)
    assert sorted(one.is_new for one in found) == [False] * 49 + [True]
    assert Job.objects.count() == IdempotencyKey.objects.count() == 1


def test_different_requests_at_once_under_one_key_make_one_job_and_conflicts() -> None:
    calls = [lambda value=value: jobs.submit("echo", {"value": value}, key="k") for value in range(20)]
    found = together(*calls)
    assert sum(isinstance(one, Submitted) for one in found) == 1
    assert sum(isinstance(one, KeyReused) for one in found) == 19
    assert Job.objects.count() == IdempotencyKey.objects.count() == 1


@pytest.mark.parametrize(
    "sizes", [(20, 20, 20, 20), (400, 400), (CHUNK + 100, CHUNK + 100), (400, CHUNK + 100)], ids=str
)
def test_batches_that_share_their_keys_in_opposite_order_do_not_wait_for_each_other(sizes: tuple[int, ...]) -> None:
    """Whether they fit into one statement or not."""

    def batch(number: int, size: int, turn: int) -> Any:
        requests = [request(idempotencyKey=f"k{turn}-{i:03}") for i in range(size)]
        return submission.submit_many(requests[:: -1 if number % 2 else 1])

    for turn in range(5):
        found = together(*[partial(batch, number, size, turn) for number, size in enumerate(sizes)])
        assert all(isinstance(one, list) for one in found), found
    assert Job.objects.count() == IdempotencyKey.objects.count() == Event.objects.count() == 5 * max(sizes)


def test_jobs_are_queued_in_the_order_given_whatever_their_keys() -> None:
    keys = ["c", None, "a", "taken", "b", None]
    jobs.submit("echo", key="taken", client="alice")
    made = submission.submit_many([request(**({"idempotencyKey": key} if key else {})) for key in keys])
    new = [one.id for one in made if isinstance(one, Submitted) and one.is_new]
    assert len(new) == 5
    assert list(Job.objects.filter(pk__in=new).order_by("queued_at", "pk").values_list("pk", flat=True)) == new
    assert list(Event.objects.filter(job__in=new).order_by("pk").values_list("job", flat=True)) == new
    assert listed()[-5:] == [str(job_id).encode() for job_id in new]


def test_a_key_whose_first_use_is_rolled_back_belongs_to_the_next() -> None:
    inserted, go = threading.Event(), threading.Event()

    def rolls_back() -> None:
        with transaction.atomic():
            jobs.submit("echo", key="k")
            inserted.set()
            go.wait(10)
            transaction.set_rollback(True)

    def follows() -> Submitted:
        inserted.wait(10)
        threading.Timer(0.1, go.set).start()
        return jobs.submit("echo", key="k")

    _, second = together(rolls_back, follows)
    assert second.is_new
    assert Job.objects.get().pk == second.id


# --- the push follows the commit -----------------------------------------------------------------------


def test_a_job_is_pushed_and_mirrored_when_it_is_committed() -> None:
    with transaction.atomic():
        job_id = jobs.submit("echo").id
        assert listed() == []
    assert listed() == [str(job_id).encode()]
    entry = mirror.peek(job_id)
    assert entry is not None
    assert entry.status["status"] == "queued"


def test_a_job_that_is_not_due_is_mirrored_and_not_pushed() -> None:
    job_id = jobs.submit("echo", delay_s=60).id
    assert listed() == []
    assert mirror.peek(job_id) is not None


def test_one_accepted_job_is_one_commit_and_one_call_to_redis() -> None:
    jobs.submit("echo")  # Redis knows the script from now on
    calls = _commands()
    with CaptureQueriesContext(connection) as captured:
        jobs.submit("echo", key="k")
    if connection.vendor == "postgresql":
        assert len(captured) == 1  # a statement that commits by itself: one round trip
    else:
        assert sum(query["sql"] == "COMMIT" for query in captured) == 1
    assert _commands() - calls == 2  # the script, and this INFO


@pytest.mark.parametrize("options", [{}, {"key": "k", "tags": ["blue"]}])
def test_what_takes_several_statements_or_cannot_be_tried_again_is_a_transaction(options: dict[str, Any]) -> None:
    with CaptureQueriesContext(connection) as captured:
        jobs.submit("echo", **options)
    assert [query["sql"] for query in captured][-1] == "COMMIT"


def _commands() -> int:
    """Commands that Redis has been sent by clients, scripts' own not counted."""
    calls = queue.broker().info("commandstats")
    names = ("cmdstat_evalsha", "cmdstat_eval", "cmdstat_get", "cmdstat_set", "cmdstat_info")
    return sum(int(calls.get(name, {}).get("calls", 0)) for name in names[:2] + names[4:])


# --- groups ---------------------------------------------------------------------------------------------


def test_twenty_offers_in_one_group_are_one_commit() -> None:
    with CaptureQueriesContext(connection) as captured:
        results = submission._commit_group([[request(idempotencyKey=f"k{i}")] for i in range(20)])
    assert sum(query["sql"] == "COMMIT" for query in captured) == 1
    assert all(isinstance(result, list) and isinstance(result[0], Submitted) for result in results)


def test_what_arrives_during_a_commit_shares_the_next_one() -> None:
    groups: list[int] = []
    first, go = threading.Event(), threading.Event()

    def commit(items: Any) -> Any:
        groups.append(len(items))
        first.set()
        go.wait(10)
        return items

    group: Group[int, int] = Group("test", commit, lambda items, results: None)
    futures = [group.offer(0)]
    first.wait(10)
    futures += [group.offer(i) for i in range(1, LARGEST + 21)]
    go.set()
    assert [future.result(10) for future in futures] == list(range(LARGEST + 21))
    assert groups == [1, LARGEST, 20]


def test_who_was_answered_together_shares_the_next_commit_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.group.PAUSE_S", 0.2)
    groups: list[list[int]] = []

    def commit(items: Any) -> Any:
        groups.append(list(items))
        return items

    group: Group[int, int] = Group("test", commit, lambda items, results: None)
    group.offer_all([1, 2]).result(10)
    futures = [group.offer(3), group.offer(4)]
    assert [future.result(10) for future in futures] == [3, 4]
    assert group.offer(5).result(10) == 5  # nobody else comes back
    assert groups == [[1, 2], [3, 4], [5]]


def test_what_is_offered_together_has_its_own_result_each() -> None:
    groups: list[list[int]] = []
    first, go = threading.Event(), threading.Event()

    def commit(items: Any) -> Any:
        groups.append(list(items))
        first.set()
        go.wait(10)
        return [ZeroDivisionError() if item % 2 else item for item in items]

    group: Group[int, int] = Group("test", commit, lambda items, results: None)
    lone = group.offer(0)
    first.wait(10)
    together, odd, left, last = group.offer_all([1, 2, 3]), group.offer(5), group.offer_all([7]), group.offer_all([8])
    assert left.cancel()
    go.set()
    assert [str(result) for result in together.result(10)] == ["", "2", ""]
    assert lone.result(10) == 0
    assert last.result(10) == [8]
    with pytest.raises(ZeroDivisionError):
        odd.result(10)
    assert groups == [[0], [1, 2, 3, 5, 8]]


def test_one_row_that_cannot_be_stored_does_not_fail_its_group() -> None:
    bad = replace(request({"value": 2}), client=None)  # type: ignore[arg-type]
    results = submission._commit_group([[request({"value": 1})], [bad], [request({"value": 3})]])
    assert isinstance(results[0], list)
    assert isinstance(results[1], DatabaseError)
    assert isinstance(results[2], list)
    assert Job.objects.count() == 2


def test_a_cancelled_offer_is_not_stored_and_harms_nobody() -> None:
    first, go = threading.Event(), threading.Event()
    seen: list[int] = []

    def commit(items: Any) -> Any:
        seen.extend(items)
        first.set()
        go.wait(10)
        return items

    group: Group[int, int] = Group("test", commit, lambda items, results: None)
    futures = [group.offer(0)]
    first.wait(10)
    futures += [group.offer(1), group.offer(2)]
    assert futures[1].cancel()
    assert not futures[0].cancel()
    go.set()
    assert futures[2].result(10) == 2
    assert group.offer(3).result(10) == 3
    assert seen == [0, 2, 3]


def test_an_error_of_the_whole_group_reaches_everybody_who_waits_and_the_next_group_goes_on() -> None:
    def commit(items: Any) -> Any:
        if 0 in items:
            raise DatabaseUnavailable
        return items

    told: list[Any] = []
    group: Group[int, int] = Group("test", commit, lambda items, results: told.append(1 / 0))
    with pytest.raises(DatabaseUnavailable):
        group.offer(0).result(10)
    assert group.offer(1).result(10) == 1  # what follows its commit fails, which is nobody's business
    assert group.offer(2).result(10) == 2


def test_a_commit_that_hangs_is_given_up_and_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.group.LATE_S", 0.3)
    monkeypatch.setattr("jobs.group.LOOK_S", 0.05)
    entered, go, told = threading.Event(), threading.Event(), threading.Event()

    def commit(items: Any) -> Any:
        if 0 in items:
            entered.set()
            go.wait(30)
        return items

    def after(items: Any, results: Any) -> None:
        if 0 in items:
            told.set()

    group: Group[int, int] = Group("test", commit, after)
    hung = group.offer(0)
    entered.wait(10)
    waiting = group.offer(1)
    with pytest.raises(DatabaseUnavailable):
        hung.result(10)
    assert waiting.result(10) == 1
    assert group.offer(2).result(10) == 2
    go.set()  # it comes back, and finds that others have its work
    assert group.offer(3).result(10) == 3
    assert not told.is_set()


def test_what_follows_a_commit_and_hangs_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.group.LATE_S", 0.3)
    monkeypatch.setattr("jobs.group.LOOK_S", 0.05)
    entered, go = threading.Event(), threading.Event()
    committed: list[int] = []

    def commit(items: Any) -> Any:
        committed.extend(items)
        return items

    def after(items: Any, results: Any) -> None:
        if 0 in items:
            entered.set()
            go.wait(30)

    group: Group[int, int] = Group("test", commit, after)
    assert group.offer(0).result(10) == 0
    entered.wait(10)
    assert group.offer(1).result(10) == 1
    go.set()
    assert group.offer(2).result(10) == 2
    assert committed == [0, 1, 2]


def test_a_thread_that_dies_is_followed_by_another_and_leaves_nobody_waiting(caplog: pytest.LogCaptureFixture) -> None:
    deaths, is_offered = [SystemExit("ended from outside")], threading.Event()

    @contextlib.contextmanager
    def around() -> Iterator[None]:
        if deaths:
            is_offered.wait(10)
            raise deaths.pop()
        yield

    group: Group[int, int] = Group("test", lambda items: items, lambda items, results: None, around)
    future = group.offer(0)
    is_offered.set()
    with pytest.raises(DatabaseUnavailable):
        future.result(10)
    assert group.offer(1).result(10) == 1
    assert "died" in caplog.text


def test_a_replay_whose_job_is_pruned_meanwhile_is_answered_by_the_tombstone(monkeypatch: pytest.MonkeyPatch) -> None:
    first = jobs.submit("echo", key="K")
    Job.objects.filter(pk=first.id).update(status="succeeded", finished_at=timezone.now() - timedelta(days=60))
    real = keys.known_keys

    def read_just_before_pruning(pairs: Any) -> Any:
        found = real(pairs)
        prune.prune()
        return found

    monkeypatch.setattr(keys, "known_keys", read_just_before_pruning)
    (outcome,) = submission.store([envelope_of("K")])
    assert isinstance(outcome, Submitted)
    assert (outcome.id, outcome.is_new, outcome.document["status"]) == (first.id, False, "succeeded")


def test_a_replay_whose_job_was_deleted_by_hand_is_told_so() -> None:
    first = jobs.submit("echo", key="K")
    Job.objects.filter(pk=first.id).delete()
    with pytest.raises(KeyReused, match="deleted by hand"):
        jobs.submit("echo", key="K")


def envelope_of(key: str) -> Any:
    return envelope.parse({"type": "echo", "payload": {}, "idempotencyKey": key}, client="system", source="python")


def test_an_offer_inside_a_transaction_joins_it_and_is_done_at_once() -> None:
    with transaction.atomic():
        future: Future[Any] = submission.offer([request()])
        assert future.done()
        assert listed() == []
    assert len(listed()) == 1


@pytest.mark.skipif(sandbox.chosen_database() != "postgres", reason="SQLite has no server that goes away")
def test_a_job_whose_answer_was_lost_is_new_to_the_second_try() -> None:
    lost: list[str] = []

    def lose(execute: Any, sql: str, *arguments: Any) -> Any:
        found = execute(sql, *arguments)
        if "INSERT INTO jobs_job" in sql and not lost:
            lost.append(sql)
            raise OperationalError("the connection is lost")
        return found

    with connection.execute_wrapper(lose):
        (found,) = accept.commit([request(idempotencyKey="k")])
    assert lost
    assert isinstance(found, Submitted)
    assert (found.is_new, Job.objects.get().pk) == (True, found.id)
    (again,) = accept.commit([request(idempotencyKey="k")])
    assert isinstance(again, Submitted)
    assert (again.is_new, again.id) == (False, found.id)


# --- without Redis ---------------------------------------------------------------------------------------


def test_jobs_are_accepted_while_redis_is_away_and_the_breaker_spares_the_next_ones() -> None:
    jobs.submit("echo")
    broker.stop(sandbox.folder())
    began = time.monotonic()
    ids = [jobs.submit("echo", key=f"k{i}").id for i in range(50)]
    assert time.monotonic() - began < 5  # and not fifty times the budget of a call
    assert Job.objects.filter(pk__in=ids, status="queued").count() == 50
    assert mirror.read_status(ids[0]) is not None


def test_a_slow_redis_costs_one_budget_and_not_the_job() -> None:
    queue.broker().client_pause(60_000, all=False)  # what writes waits; all others, CLIENT UNPAUSE among them, do not
    began = time.monotonic()
    job_id = jobs.submit("echo").id
    assert time.monotonic() - began < 30  # Redis answers after sixty
    assert listed() == []
    queue.broker().client_unpause()
    assert Job.objects.filter(pk=job_id).exists()
    eventually(queue.is_reachable)


def test_a_push_of_several_jobs_that_is_not_over_holds_no_commit(tmp_path: Path) -> None:
    failpoints.arm((failpoints.Point("push.after", 1, "sleep"),), tmp_path)
    try:
        made = [one for _ in range(2) for one in submission.offer([request()] * 2).result(failpoints.SLEEP_S / 2)]
        assert len({job.id for job in made if isinstance(job, Submitted)}) == 4
    finally:
        failpoints.arm((), tmp_path)
    eventually(lambda: len(listed()) == 4, timeout_s=2 * failpoints.SLEEP_S)


def test_a_full_redis_costs_nothing() -> None:
    queue.broker().config_set("maxmemory", "1")
    try:
        assert jobs.submit("echo").is_new
    finally:
        queue.broker().config_set("maxmemory", "0")


# --- without the database ----------------------------------------------------------------------------------


def test_a_locked_database_refuses_and_stores_nothing() -> None:
    with locked(), pytest.raises(DatabaseUnavailable):
        jobs.submit("echo", key="k")
    assert not Job.objects.exists()
    assert not IdempotencyKey.objects.exists()
    assert jobs.submit("echo", key="k").is_new


def test_a_replay_that_cannot_be_counted_is_answered_all_the_same() -> None:
    first = jobs.submit("echo", key="k")
    outcome = Submitted(first.id, False, first.row)
    with locked():
        accept.tell_redis([outcome], [request(idempotencyKey="k", client="system")])
    assert IdempotencyKey.objects.get().replays == 0


def test_a_connection_that_the_server_ended_is_replaced() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no server")
    jobs.submit("echo")

    def end(pid: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [pid])

    for key in (None, "k"):
        together(partial(end, connection.connection.info.backend_pid))
        assert jobs.submit("echo", key=key).is_new
    assert lives.attempt(jobs.submit("echo").id).status == "succeeded"
