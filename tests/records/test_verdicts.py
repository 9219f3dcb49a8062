"""A verdict is kept where it was made, and claims that no handler began leave no trace."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence

import pytest
from django.db import OperationalError, connection

from jobs import failpoints, leases, operate, reconcile, transitions
from jobs.commit import Recorder
from jobs.lifecycle import Actor, End
from jobs.models import Event, Job, Lease, LogLine, MinuteStat
from jobs.outcome import Outcome
from jobs.roster import Roster
from jobs.verdicts import Judged
from jobs.work import Work
from tests.support import lives

pytestmark = pytest.mark.django_db(transaction=True)


def story(job_id: uuid.UUID) -> list[str]:
    return list(Event.objects.filter(job_id=job_id).order_by("id").values_list("event", flat=True))


def stand(job_id: uuid.UUID) -> tuple[str, int, int, int]:
    job = Job.objects.get(pk=job_id)
    return job.status, job.attempt, job.failures, job.crashes


# --- verdicts ---------------------------------------------------------------------------------------------


def revoke_only(lease_id: uuid.UUID, verdict: leases.Verdict, begun: set[uuid.UUID] | None = None) -> None:
    """What is left of a parent that dies after it has revoked the lease."""
    leases._revoke(lease_id, verdict, begun, "w1")


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (lambda ids: leases.released, ("queued", 1, 0, 0)),
        (lambda ids: leases.crashed("signal SIGSEGV", set(ids)), ("queued", 1, 0, 1)),
        (lambda ids: leases.overdue(dict.fromkeys(ids, "too long")), ("scheduled", 1, 1, 0)),
    ],
)
def test_housekeeping_follows_the_verdict_of_a_parent_that_died_after_it(verdict: object, expected: object) -> None:
    lease_id = lives.open_lease()
    row = lives.claim(lives.submit(), lease_id).row
    revoke_only(lease_id, verdict([row.id]), {row.id})  # type: ignore[operator]
    assert stand(row.id)[0] == "running"
    reconcile.reconcile()
    assert stand(row.id) == expected
    assert Lease.objects.get(pk=lease_id).revoked_by == "w1"


def test_without_a_verdict_each_job_of_a_revoked_lease_has_crashed() -> None:
    """An older version of the program revoked it, or somebody by hand."""
    lease_id = lives.open_lease()
    row = lives.claim(lives.submit(), lease_id).row
    Lease.objects.filter(pk=lease_id).update(revoked_at="2020-01-01T00:00:00Z", revoked_by="old")
    reconcile.reconcile()
    assert stand(row.id) == ("queued", 1, 0, 1)
    lease = Lease.objects.get(pk=lease_id)
    assert lease.revoked_at is not None
    assert (lease.revoked_by, lease.revoked_at.year, lease.verdict["kind"]) == ("old", 2020, "crashed")


def test_a_verdict_names_who_ran_and_who_pays() -> None:
    lease_id = lives.open_lease()
    ran, over, waiting = (lives.claim(lives.submit(), lease_id).row.id for _ in range(3))
    stranger = uuid.uuid4()
    verdict = leases.crashed("signal SIGSEGV", {ran, stranger})
    leases.end_lease(lease_id, verdict, begun={ran, over, stranger}, actor=Actor.WORKER, who="w1")
    assert [stand(job_id)[1:] for job_id in (ran, over, waiting)] == [(1, 0, 1), (1, 0, 0), (0, 0, 0)]
    assert [story(job_id)[1:] for job_id in (ran, over, waiting)] == [["start", "expire"], ["start", "release"], []]
    kept = Judged.of_json(Lease.objects.get(pk=lease_id).verdict)
    assert (kept.culprits, kept.begun) == ({ran: "signal SIGSEGV"}, {ran, over})
    assert Judged.of_json(kept.as_json()) == kept
    assert sum(MinuteStat.objects.values_list("count", flat=True)) == 2


def test_a_horse_that_dies_before_any_handler_began_does_not_die_of_it_again_and_again() -> None:
    lease_id = lives.open_lease()
    row = lives.claim(lives.submit(), lease_id).row
    leases.end_lease(lease_id, leases.crashed("exit 1", set()), begun=set(), actor=Actor.WORKER, who="w1")
    assert stand(row.id) == ("queued", 1, 0, 1)


# --- claims that no handler began -------------------------------------------------------------------------


def test_a_claim_in_vain_leaves_nothing_but_a_higher_version() -> None:
    job_id = lives.submit()
    before = Job.objects.get(pk=job_id)
    row = lives.claim(job_id).row
    (after,) = lives.end(row, End.UNBEGUN)
    assert (after.status, after.attempt, after.version, after.started_at) == ("queued", 0, 3, None)
    assert Job.objects.get(pk=job_id).queued_at == before.queued_at
    assert story(job_id) == ["submit"]
    again = lives.claim(job_id).row
    assert (again.attempt, again.version) == (1, 4)
    assert lives.end(row, End.RETURNED) == []  # the first claim's fence has fallen, though the number is the same
    assert lives.end(again, End.RETURNED)


def test_a_second_claim_in_vain_keeps_the_first_attempt_as_it_was() -> None:
    job_id = lives.submit()
    lives.end(lives.claim(job_id).row, End.RELEASED)
    before = Job.objects.get(pk=job_id)
    lives.end(lives.claim(job_id).row, End.UNBEGUN)
    after = Job.objects.get(pk=job_id)
    assert (after.attempt, after.started_at, after.queued_at) == (1, before.started_at, before.queued_at)
    assert story(job_id) == ["submit", "start", "release"]


def test_a_cancel_in_the_moment_of_a_claim_in_vain_is_the_cancel_of_a_job_that_waits() -> None:
    job_id = lives.submit()
    row = lives.claim(job_id).row
    operate.cancel(job_id, actor=Actor.CLIENT, who="alice")
    (after,) = lives.end(row, End.UNBEGUN)
    assert (after.status, after.attempt) == ("cancelled", 0)
    assert after.finished_at is not None
    assert story(job_id) == ["submit", "cancel"]
    cancel = Event.objects.get(job_id=job_id, event="cancel")
    assert (cancel.source, cancel.target, cancel.attempt, cancel.who) == ("queued", "cancelled", 0, "alice")


class Turns:
    def __init__(self) -> None:
        self.lease_id = lives.open_lease()
        self.recorder = Recorder(self.lease_id, "w1")
        self.running = Roster()

    def commit(self, outcomes: Sequence[Outcome] = (), wanted: Sequence[uuid.UUID] = (), *, is_tick: bool = False) -> list[uuid.UUID]:  # fmt: skip
        done = self.recorder.commit(
            Work(outcomes, wanted, self.running.lines() if is_tick else [], is_tick, self.running)
        )
        for outcome in outcomes:
            self.running.pop(outcome.row.id)
        self.running.begin(done.opened, threading.Event())
        return [row.id for row in done.taken_back]


@pytest.mark.parametrize("end", [End.RELEASED, End.UNBEGUN])
def test_a_release_and_a_new_claim_whose_answer_was_lost_leave_nothing_running(
    end: End, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns, job_id = Turns(), lives.submit()
    turns.commit(wanted=[job_id])
    row = turns.running[job_id].claimed.row
    real, lost = failpoints.hit, ["claim.after_commit"]

    def hit(name: str) -> None:
        if name in lost:
            lost.remove(name)
            raise OperationalError("server closed the connection unexpectedly")
        real(name)

    monkeypatch.setattr(failpoints, "hit", hit)
    assert turns.commit([Outcome.of(lives.ended(row, end), row)], [job_id]) == [job_id]
    assert not lost
    assert stand(job_id) == ("queued", int(end is End.RELEASED), 0, 0)


def test_a_claim_that_is_committed_after_its_connection_was_lost_is_taken_back_at_the_next_tick() -> None:
    turns, ids = Turns(), [lives.submit() for _ in range(2)]
    turns.commit(wanted=ids[:1])
    lives.claim(ids[1], turns.lease_id)  # the server finished it, and nobody was there to hear of it
    assert turns.commit(is_tick=True) == [ids[1]]
    assert stand(ids[1]) == ("queued", 0, 0, 0)
    assert stand(ids[0])[0] == "running"
    assert turns.commit(is_tick=True) == []


def test_a_cancelled_job_that_runs_here_is_not_taken_back() -> None:
    turns, job_id = Turns(), lives.submit()
    turns.commit(wanted=[job_id])
    operate.cancel(job_id, actor=Actor.CLIENT, who="alice")
    assert turns.commit(is_tick=True) == []
    assert stand(job_id)[0] == "running"


def test_log_lines_obey_the_fence() -> None:
    turns, job_id = Turns(), lives.submit()
    turns.commit(wanted=[job_id])
    running = turns.running[job_id]
    running.context.log("while it holds its lease")
    turns.commit(is_tick=True)
    lives.expire(turns.lease_id)
    running.context.log("as a zombie")
    turns.commit(is_tick=True)
    row = running.claimed.row
    running.context.log("at the end")
    outcome = Outcome.of(lives.ended(row, End.RETURNED), row, 0.1, running.context.log.take())
    turns.commit([outcome])
    assert list(LogLine.objects.values_list("message", flat=True)) == ["while it holds its lease"]


def test_hard_limits_are_timed_from_the_start_that_runs_and_go_on_through_a_cancel() -> None:
    lease_id = lives.open_lease()
    row = lives.claim(lives.submit(timeout_s=1), lease_id).row
    limits = leases.HardLimits(lease_id)
    limits.passed(set)
    assert not limits._since, "its handler has not begun"
    limits.passed(lambda: {row.id})
    (key,) = limits._since
    operate.cancel(row.id, actor=Actor.CLIENT, who="alice")
    limits.passed(lambda: {row.id})
    assert set(limits._since) == {key}
    lives.end(transitions.running_of(lease_id)[0], End.UNBEGUN)
    limits.passed(lambda: {row.id})
    assert not limits._since
    connection.close()
