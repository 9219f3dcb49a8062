"""One locked row delays itself only: what somebody else's open transaction holds waits alone.

PostgreSQL only: SQLite has one lock for all that is written, and no locks of rows.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection
from django.utils import timezone

import jobs
from jobs import keys, leases, operate, polls, prune, submission
from jobs.admin import actions
from jobs.commit import Recorder
from jobs.context import JobContext
from jobs.errors import DatabaseUnavailable, SoftTimeout
from jobs.interrupts import Slot
from jobs.lifecycle import Actor, End
from jobs.models import Effect, IdempotencyKey, Job, Lease, MinuteStat, Schedule
from jobs.models.clock import now
from jobs.outcome import Outcome
from jobs.roster import Roster
from jobs.rows import Row
from jobs.schedules import Ticker
from jobs.submission import Submitted
from jobs.transitions import Claimed
from jobs.work import Done, Work
from tests.support import factory, lives, sandbox

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(sandbox.chosen_database() != "postgres", reason="SQLite has no locks of rows"),
]


@pytest.fixture(autouse=True)
def brief() -> Iterator[None]:
    """As a horse's connection is, so that a lock is found soon."""
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = 50")
    yield
    connection.close()


@contextlib.contextmanager
def locked(table: str, condition: str, *parameters: object) -> Iterator[None]:
    """An operator's open transaction holds some rows."""
    found = connection.settings_dict
    with psycopg.connect(host=found["HOST"], port=found["PORT"], user=found["USER"], dbname=found["NAME"]) as other:
        rows = other.execute(f"SELECT 1 FROM {table} WHERE {condition} FOR UPDATE", parameters).fetchall()
        assert rows, "there was nothing to lock"
        yield
        other.rollback()


class Turns:
    def __init__(self) -> None:
        self.lease_id = lives.open_lease()
        self.recorder = Recorder(self.lease_id, "w1")
        self.running = Roster()

    def claim(self, ids: Sequence[uuid.UUID]) -> list[tuple[Claimed, JobContext]]:
        done = self.recorder.commit(Work([], ids, [], False, self.running))
        return self.running.begin(done.opened, threading.Event())

    def end(self, claimed: Sequence[Claimed], wanted: Sequence[uuid.UUID] = ()) -> Done:
        outcomes = [
            Outcome.of(lives.ended(one.row, End.RETURNED, result='{"a": 1}', has_effects=True), one.row, 0.1)
            for one in claimed
        ]
        done = self.recorder.commit(Work(outcomes, wanted, [], False, self.running))
        for one in claimed:
            self.running.pop(one.row.id)
        self.running.begin(done.opened, threading.Event())
        return done

    def tick(self) -> Done:
        return self.recorder.commit(Work([], [], [], True, self.running))


def statuses(ids: Sequence[uuid.UUID]) -> list[str]:
    found = dict(Job.objects.values_list("id", "status"))
    return [found[job_id] for job_id in ids]


def counted() -> int:
    return sum(MinuteStat.objects.values_list("count", flat=True))


@pytest.mark.parametrize("what", ["its row", "its effect"])
def test_an_outcome_waits_alone_for_its_row_and_is_not_lost(what: str) -> None:
    turns, ids = Turns(), [lives.submit() for _ in range(4)]
    claimed = [one for one, _ in turns.claim(ids[:3])]
    factory.make_effect(Job.objects.get(pk=ids[1]), status="executing", on_doubt="repeat", attempt=1)
    table, column = {"its row": ("jobs_job", "id"), "its effect": ("jobs_effect", "job_id")}[what]
    with locked(table, f"{column} = %s", ids[1]):
        done = turns.end(claimed, [ids[3]])
        assert statuses(ids) == ["succeeded", "running", "succeeded", "running"]
        assert [Claimed.of(line).row.id for line in done.opened] == [ids[3]]
        assert turns.tick().moved == []  # nobody takes it for a job that does not run here
        assert statuses(ids[1:2]) == ["running"]
    moved = turns.tick().moved
    assert [row.id for row in moved] == [ids[1]]
    assert turns.recorder.waiting.outcomes == []
    assert statuses(ids) == ["succeeded", "scheduled", "succeeded", "running"]  # its effect was open
    turns.tick()
    assert counted() == 3


def test_outcomes_go_on_while_somebody_holds_their_statistics() -> None:
    turns, ids = Turns(), [lives.submit() for _ in range(3)]
    claimed = [one for one, _ in turns.claim(ids)]
    turns.end(claimed[:1])
    assert counted() == 1
    with locked("jobs_minutestat", "true"):
        turns.end(claimed[1:2])
        turns.end(claimed[2:])
        turns.tick()
        assert statuses(ids) == ["succeeded"] * 3
    turns.tick()
    assert counted() == 3


def test_queued_jobs_are_claimed_past_locked_ones() -> None:
    turns, ids = Turns(), [lives.submit() for _ in range(3)]
    with locked("jobs_job", "id = ANY(%s)", ids[:2]):
        assert [job_id for job_id, _ in polls.oldest_queued(["default"], 1)] == [ids[2]]
        assert [one.row.id for one, _ in turns.claim(ids)] == [ids[2]]
    assert len(turns.claim(ids)) == 2


def test_a_key_that_a_transaction_holds_is_refused_alone() -> None:
    requests = [[submission_request(f"k{i}")] for i in range(5)]
    found = connection.settings_dict
    with psycopg.connect(host=found["HOST"], port=found["PORT"], user=found["USER"], dbname=found["NAME"]) as other:
        other.execute(
            "INSERT INTO jobs_idempotencykey (client, key, job_id, salt, fingerprint, algorithm, replays)"
            " VALUES ('alice', 'k2', %s, '', '', 1, 0)",
            [uuid.uuid4()],
        )
        results = submission._commit_group(requests)
        other.rollback()
    assert isinstance(results.pop(2), DatabaseUnavailable)  # type: ignore[attr-defined]
    assert all(isinstance(result, list) and isinstance(result[0], Submitted) for result in results)
    assert Job.objects.count() == 4
    assert isinstance(submission._commit_group(requests[2:3])[0], list)


def submission_request(key: str) -> Any:
    from jobs import envelope

    return envelope.parse({"type": "echo", "payload": {}, "idempotencyKey": key}, client="alice", source="api")


def test_replays_of_a_locked_key_are_answered_and_not_waited_for() -> None:
    for key in ("a", "b"):
        jobs.submit("echo", key=key)
    with locked("jobs_idempotencykey", "key = 'a'"):
        assert keys.note_replays([("system", "a"), ("system", "b"), ("system", "b")], may_wait=False) == 2
        assert not jobs.submit("echo", key="a").is_new
    assert IdempotencyKey.objects.get(key="b").replays == 2


def test_the_end_of_a_lease_passes_locked_rows_by_and_its_verdict_waits_for_them() -> None:
    """What was told to stop is no crash later, whoever finds it."""
    lease_id = lives.open_lease()
    ids = [lives.claim(lives.submit(), lease_id).row.id for _ in range(3)]
    with locked("jobs_job", "id = %s", ids[1]):
        moved = leases.end_lease(lease_id, leases.released, actor=Actor.WORKER, who="w1")
        assert {row.id for row in moved} == {ids[0], ids[2]}
        assert statuses(ids) == ["queued", "running", "queued"]
    moved = leases.end_lease(lease_id, leases.crashed("found dead"), actor=Actor.HOUSEKEEPING, who="h1")
    assert [(row.id, row.status, row.crashes) for row in moved] == [(ids[1], "queued", 0)]
    assert Lease.objects.get(pk=lease_id).revoked_by == "w1"


def test_who_is_to_blame_is_judged_over_locked_rows_as_well() -> None:
    """The culprit's row is locked: the innocents beside it are not charged in its stead."""
    lease_id = lives.open_lease()
    culprit, other = (lives.claim(lives.submit(), lease_id).row.id for _ in range(2))
    verdict = leases.crashed("signal SIGSEGV", {culprit, other} - {other})
    with locked("jobs_job", "id = %s", culprit):
        leases.end_lease(lease_id, verdict, begun={culprit, other}, actor=Actor.WORKER, who="w1")
        assert (Job.objects.get(pk=other).status, Job.objects.get(pk=other).crashes) == ("queued", 0)
    leases.end_lease(lease_id, leases.released, actor=Actor.HOUSEKEEPING, who="h1")
    job = Job.objects.get(pk=culprit)
    assert (job.status, job.crashes, job.error_message) == ("queued", 1, "signal SIGSEGV")


def test_locked_effects_and_statistics_do_not_keep_the_jobs_of_a_lease() -> None:
    lease_id = lives.open_lease()
    rows = [lives.claim(lives.submit(), lease_id).row for _ in range(2)]
    Job.objects.filter(pk=rows[0].id).update(has_effects=True)
    factory.make_effect(Job.objects.get(pk=rows[0].id), status="executing", on_doubt="skip")
    factory.make_effect(Job.objects.create(**_like(rows[1])), status="executing")
    with locked("jobs_effect", "job_id = %s", rows[0].id):
        moved = leases.end_lease(lease_id, leases.released, actor=Actor.WORKER, who="w1", rounds=1)
        assert [row.id for row in moved] == [rows[1].id]
    moved = leases.end_lease(lease_id, leases.released, actor=Actor.HOUSEKEEPING, who="h1")
    assert [row.id for row in moved] == [rows[0].id]
    assert Effect.objects.get(job_id=rows[0].id).status == "in_doubt"


def _like(row: Row) -> dict[str, Any]:
    return {
        "id": uuid.uuid4(), "type": row.type, "queue": row.queue, "client": row.client, "source": "python", "payload": {},
        "status": "failed", "failures_allowed": 1, "crashes_allowed": 1, "max_attempts": 1, "timeout_s": 1,
        "finished_at": timezone.now(),
    }  # fmt: skip


def test_an_effects_record_waits_for_its_row_and_is_kept() -> None:
    row = lives.claim(lives.submit()).row
    context = lives.context_of(Claimed(row, "{}", 60))
    released, entered = threading.Event(), threading.Event()

    def hold() -> None:
        with locked("jobs_job", "id = %s", row.id):
            entered.set()
            released.wait(30)
        connection.close()

    holder = threading.Thread(target=hold)
    timer = threading.Timer(1.0, released.set)
    with context.effect("send"):
        holder.start()
        assert entered.wait(30)
        timer.start()
    holder.join()
    assert Effect.objects.get(job_id=row.id).status == "done"


@pytest.mark.parametrize("moment", ["entry", "end", "block"])
def test_an_effect_that_waits_for_its_row_ends_before_its_process_would(settings: Any, moment: str) -> None:
    """The process is killed at the hard limit, and with it attempts that have nothing to do with the row."""
    settings.JOBS_HARD_TIMEOUT_EXTRA_S = 1
    row = lives.claim(lives.submit()).row
    context, slot, token = JobContext(row, threading.Event()), Slot(), object()
    lock = locked("jobs_job", "id = %s", row.id)

    def interrupt(execute: Any, *rest: Any) -> Any:
        """Out of another thread, while a statement of an effect is executed."""
        thread = threading.Thread(target=slot.interrupt, args=(token, SoftTimeout))
        thread.start()
        thread.join()
        return execute(*rest)

    def handle(operators: contextlib.ExitStack) -> None:
        if moment == "entry":
            operators.enter_context(lock)
            operators.enter_context(connection.execute_wrapper(interrupt))
        with context.effect("send"):
            operators.enter_context(lock)
            if moment == "end":
                operators.enter_context(connection.execute_wrapper(interrupt))
            else:
                raise SoftTimeout

    with contextlib.ExitStack() as operators, slot.running(token):
        context.begin(token, slot)
        if moment == "block":
            slot._fired = SoftTimeout  # raised by hand: an exception from outside arrives some steps later
        with pytest.raises((SoftTimeout, OperationalError)):
            handle(operators)
    found = Effect.objects.filter(job_id=row.id).values_list("status", flat=True)
    assert list(found) == ([] if moment == "entry" else ["executing"])


def test_what_is_locked_is_pruned_another_time_and_nothing_else_waits() -> None:
    long_ago = now().replace(year=now().year - 2)
    ids = [jobs.submit("echo", key=f"k{i}").id for i in range(4)]
    Job.objects.filter(pk__in=ids).update(status="succeeded", finished_at=long_ago)
    for _ in range(3):
        lease = lives.open_lease()
        Lease.objects.filter(pk=lease).update(revoked_at=long_ago)
    with (
        locked("jobs_job", "id = %s", ids[0]),
        locked("jobs_idempotencykey", "job_id = %s", ids[1]),
        locked("jobs_lease", "id = %s", lease),
    ):
        counts = prune.prune()
        assert (counts.jobs, counts.leases) == (2, 2)
        assert set(Job.objects.values_list("pk", flat=True)) == set(ids[:2])
    assert prune.prune().jobs == 2


def test_a_schedule_whose_last_job_is_locked_waits_alone() -> None:
    began, then = now(), now() + dt.timedelta(minutes=1)
    for name in ("a", "b", "c"):
        Schedule.objects.create(name=name, type="echo", cron="* * * * *", overlap="cancel", pointer=began)
    assert Ticker(1, now=lambda: then).turn() == 3
    held = Job.objects.get(key__startswith="schedule:b:")
    later = then + dt.timedelta(minutes=1)
    with locked("jobs_job", "id = %s", held.pk):
        assert Ticker(1, now=lambda: later).turn() == 2
    assert Ticker(1, now=lambda: later).turn() == 1


def test_an_operators_action_says_that_a_job_is_locked_and_goes_on(django_user_model: Any) -> None:
    user = django_user_model.objects.create_superuser("root", password="x")
    ids = [lives.submit() for _ in range(2)]
    with locked("jobs_job", "id = %s", ids[0]):
        found = [actions.act(actions.ACTIONS["cancel"], job_id, user) for job_id in ids]
    assert [outcome.event for outcome in found] == [None, "cancel"]
    assert "locked" in found[0].sentence


def test_a_lock_is_told_from_an_outage() -> None:
    job_id = lives.submit()
    with locked("jobs_job", "id = %s", job_id), pytest.raises(Exception, match="lock timeout") as raised:
        operate.cancel(job_id, actor=Actor.CLIENT, who="alice")
    from jobs.sql import is_lock

    assert is_lock(raised.value)
    assert not is_lock(ValueError())
