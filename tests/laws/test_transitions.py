"""Every event in every status: what the table allows happens as it says, all else changes nothing."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.db import IntegrityError, transaction
from django.utils import timezone

from jobs import transitions
from jobs.lifecycle import FINAL, OPEN, TRANSITIONS, Actor, End, Event, Status
from jobs.models import Event as EventRow
from jobs.models import Job
from jobs.rows import Row
from tests.support import factory, lives

pytestmark = pytest.mark.django_db

PAIRS = [(event, status) for event in TRANSITIONS for status in Status]
LEGAL = [(event, status) for event, status in PAIRS if status in TRANSITIONS[event].sources]
ILLEGAL = [pair for pair in PAIRS if pair not in LEGAL]


def _doubt(job: Job, actor: Actor) -> list[Row]:
    factory.make_effect(job, status="executing")
    job.refresh_from_db()
    return lives.end(job, End.RETURNED, actor=actor)


def _abort(job: Job, actor: Actor) -> list[Row]:
    Job.objects.filter(pk=job.pk).update(cancel_requested_at=timezone.now())
    return lives.end(job, End.RELEASED, actor=actor)


MOVES: dict[Event, Callable[[Job, Actor], list[Row]]] = {
    Event.PROMOTE: lambda job, actor: transitions.promote([job.pk], actor=actor, who="x"),
    Event.START: lambda job, actor: [
        claimed.row for claimed in transitions.claim([job.pk], lease_id=lives.open_lease(), worker="x")
    ],
    Event.SUCCEED: lambda job, actor: lives.end(job, End.RETURNED, actor=actor),
    Event.RETRY: lambda job, actor: lives.end(job, End.RAISED, actor=actor, delay_s=5.0),
    Event.FAIL: lambda job, actor: lives.end(job, End.PERMANENT, actor=actor),
    Event.RELEASE: lambda job, actor: lives.end(job, End.RELEASED, actor=actor),
    Event.EXPIRE: lambda job, actor: lives.end(job, End.DIED, actor=actor),
    Event.DOUBT: _doubt,
    Event.ABORT: _abort,
    Event.SETTLE: lambda job, actor: transitions.settle(job.pk, who="x"),
    Event.REQUEST_CANCEL: lambda job, actor: transitions.request_cancel([job.pk], actor=actor, who="x"),
    Event.CANCEL: lambda job, actor: transitions.cancel([job.pk], actor=actor, who="x"),
    Event.RERUN: lambda job, actor: transitions.rerun(job.pk, 3, actor=actor, who="x"),
}


def test_every_event_of_the_table_has_its_move_here() -> None:
    assert set(MOVES) == set(TRANSITIONS)


@pytest.mark.parametrize(("event", "status"), LEGAL)
def test_a_legal_event_moves_the_job_and_writes_one_event(event: Event, status: Status) -> None:
    row = TRANSITIONS[event]
    job = factory.make_job(status)
    known = set(EventRow.objects.values_list("pk", flat=True))
    (moved,) = MOVES[event](job, row.actors[0])
    after = Job.objects.get(pk=job.pk)
    (written,) = EventRow.objects.exclude(pk__in=known)
    assert (moved.status, moved.version) == (after.status, after.version) == (row.target, job.version + 1)
    assert (after.finished_at is not None) == (row.target in FINAL)
    assert after.attempt == job.attempt + (event is Event.START)
    assert (written.job_id, written.event, written.source, written.target) == (job.pk, event, status, row.target)
    assert (written.actor, written.attempt) == (row.actors[0], after.attempt)


@pytest.mark.parametrize(("event", "status"), ILLEGAL)
def test_an_illegal_event_moves_nothing_and_writes_nothing(event: Event, status: Status) -> None:
    job = factory.make_job(status)
    if event is Event.DOUBT:
        factory.make_effect(job, "another", status="executing")
    if event is Event.ABORT:
        Job.objects.filter(pk=job.pk).update(cancel_requested_at=timezone.now())
    before = _everything(without_lease=event is Event.START)
    if event in (Event.DOUBT, Event.ABORT):
        moved = lives.end(job, End.RETURNED if event is Event.DOUBT else End.RELEASED, actor=Actor.WORKER)
    else:
        moved = MOVES[event](job, TRANSITIONS[event].actors[0])
    assert moved == []
    assert _everything(without_lease=event is Event.START) == before


def _everything(*, without_lease: bool) -> dict[str, list[Any]]:
    models = [m for m in apps.get_app_config("jobs").get_models() if not (without_lease and m.__name__ == "Lease")]
    return {model.__name__: list(model.objects.order_by("pk").values()) for model in models}  # type: ignore[attr-defined]


OTHERS = [(event, actor) for event in TRANSITIONS for actor in Actor if actor not in TRANSITIONS[event].actors]
CHOOSES_ITS_ACTOR = (Event.START, Event.SETTLE)


@pytest.mark.parametrize(("event", "actor"), [pair for pair in OTHERS if pair[0] not in CHOOSES_ITS_ACTOR])
def test_an_actor_that_the_table_does_not_name_is_refused(event: Event, actor: Actor) -> None:
    job = factory.make_job(TRANSITIONS[event].sources[0])
    with pytest.raises(ValueError, match=f"is not for the actor {actor}"), transaction.atomic():
        MOVES[event](job, actor)
    assert Job.objects.get(pk=job.pk).version == job.version


def test_a_job_that_does_not_exist_moves_nothing() -> None:
    unknown = Job(id=uuid.uuid4(), failures_allowed=5, crashes_allowed=3)
    for event, move in MOVES.items():
        if event not in (Event.DOUBT, Event.ABORT):
            assert move(unknown, TRANSITIONS[event].actors[0]) == []
    assert not EventRow.objects.exists()


# --- the fence --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", End)
def test_a_zombie_cannot_finish_a_later_attempt(how: End) -> None:
    job_id = lives.submit()
    zombie = lives.claim(job_id).row
    assert zombie.lease_id is not None
    lives.expire(zombie.lease_id)
    present = lives.claim(job_id).row
    assert lives.end(zombie, how) == []
    job = Job.objects.get(pk=job_id)
    assert (job.status, job.attempt, job.version) == ("running", 2, present.version)


@pytest.mark.parametrize("how", End)
def test_the_same_attempt_under_another_lease_cannot_finish_it(how: End) -> None:
    row = lives.claim(lives.submit()).row
    assert lives.end(row._replace(lease_id=lives.open_lease()), how) == []
    assert Job.objects.get(pk=row.id).version == row.version


def test_nothing_is_claimed_under_a_revoked_lease() -> None:
    lease_id = lives.open_lease()
    lives.expire(lease_id)
    assert transitions.claim([lives.submit()], lease_id=lease_id, worker="w1") == []


def test_nothing_is_claimed_from_a_paused_queue() -> None:
    from jobs import operate

    job_id = lives.submit()
    operate.pause_queue("default", "x")
    assert transitions.claim([job_id], lease_id=lives.open_lease(), worker="w1") == []
    operate.resume_queue("default", "x")
    assert lives.claim(job_id)


def test_one_of_many_claims_of_the_same_job_gets_it() -> None:
    job_id = lives.submit()
    claims = [transitions.claim([job_id] * 3, lease_id=lives.open_lease(), worker="w1") for _ in range(3)]
    assert [len(claim) for claim in claims] == [1, 0, 0]


def test_jobs_start_in_the_order_in_which_they_are_claimed_whatever_the_order_of_their_rows() -> None:
    ids = [lives.submit() for _ in range(9)]
    Job.objects.filter(pk__in=ids[2:5]).update(error_code="moved")  # PostgreSQL writes them anew, behind the others
    wanted = [ids[i] for i in (4, 8, 0, 3, 7, 1, 6, 2, 5)]
    claimed = transitions.claim(wanted, lease_id=lives.open_lease(), worker="w1")
    assert [one.row.id for one in claimed] == wanted


def test_due_jobs_are_promoted_those_that_waited_longest_first() -> None:
    ids = [lives.submit(delay_s=60) for _ in range(6)]
    now = timezone.now()
    waited_s = dict(zip(ids, (5, 9, 9, 0.25, 7, 0.5), strict=True))
    for job_id in (ids[i] for i in (3, 0, 5, 1, 4, 2)):
        Job.objects.filter(pk=job_id).update(run_after=now - dt.timedelta(seconds=waited_s[job_id]))
    moved = transitions.promote_due(10, who="h1")
    assert [row.id for row in moved] == sorted(ids, key=lambda job_id: (-waited_s[job_id], job_id))


def test_a_whole_list_moves_in_one_call_and_each_row_writes_its_own_event() -> None:
    ids = [lives.submit() for _ in range(3)]
    lease_id = lives.open_lease()
    rows = [claimed.row for claimed in transitions.claim(ids, lease_id=lease_id, worker="w1")]
    ends = [End.RETURNED, End.RAISED, End.PERMANENT]
    moved = transitions.end_attempts(
        [lives.ended(row, end) for row, end in zip(rows, ends, strict=True)], actor=Actor.WORKER, who="w1"
    )
    assert {row.id: row.status for row in moved} == dict(
        zip([row.id for row in rows], ["succeeded", "scheduled", "failed"], strict=True)
    )
    assert EventRow.objects.filter(job_id__in=ids).count() == 9


# --- what the database itself refuses -----------------------------------------------------------------


@pytest.mark.parametrize("status", OPEN)
def test_an_open_job_cannot_have_a_time_of_its_end(status: Status) -> None:
    job = factory.make_job(status)
    with pytest.raises(IntegrityError), transaction.atomic():
        Job.objects.filter(pk=job.pk).update(finished_at=timezone.now())


@pytest.mark.parametrize("status", FINAL)
def test_a_final_job_has_the_time_of_its_end(status: Status) -> None:
    job = factory.make_job(status)
    with pytest.raises(IntegrityError), transaction.atomic():
        Job.objects.filter(pk=job.pk).update(finished_at=None)


def test_a_status_that_the_table_does_not_know_cannot_be_stored() -> None:
    job = factory.make_job(Status.QUEUED)
    with pytest.raises(IntegrityError), transaction.atomic():
        Job.objects.filter(pk=job.pk).update(status="dispatched")


def test_a_running_job_has_a_lease() -> None:
    job = factory.make_job(Status.RUNNING)
    with pytest.raises(IntegrityError), transaction.atomic():
        Job.objects.filter(pk=job.pk).update(lease=None)
