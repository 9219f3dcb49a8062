"""Whole random lives of jobs: attempts, what clients and operators ask meanwhile, and what holds after each step."""

from __future__ import annotations

import uuid

from hypothesis import strategies as st
from hypothesis.stateful import consumes, invariant, rule

from jobs import operate
from jobs.errors import EffectNotSettled, NotAllowed
from jobs.lifecycle import FINAL, OPEN, TRANSITIONS, Actor, End, Event, Status
from jobs.models import Effect, Job
from jobs.models import Event as EventRow
from tests.laws.attempts import Attempts, Try
from tests.support import lives


class Life(Attempts):
    tries = Attempts.tries

    @rule(some=tries)
    def zombie(self, some: Try) -> None:
        """Somebody with the right attempt and the wrong lease."""
        stale = some.claimed.row._replace(lease_id=uuid.uuid4())
        assert lives.end(stale, End.RETURNED) == []

    @rule(number=st.integers(0, 3), is_asked=st.booleans())
    def claim_in_vain(self, number: int, is_asked: bool) -> None:
        """A claim that no handler began leaves nothing but a higher version; nor does its fence hold any longer."""
        job_id = self.pick(number)
        before = self.job(job_id)
        some = self.claim_one(job_id)
        if not isinstance(some, Try):
            return
        if is_asked:
            self.cancel_one(job_id)
        (row,) = lives.end(some.claimed.row, End.UNBEGUN)
        model = self.models[job_id]
        model.holder, model.attempt, model.taken_back = None, model.attempt - 1, model.taken_back + 1
        job = self.job(job_id)
        assert job.status == row.status == (Status.CANCELLED if is_asked else Status.QUEUED)
        for name in ("attempt", "failures", "crashes", "queued_at", "started_at", "error_code"):
            assert getattr(job, name) == getattr(before, name), name
        assert lives.end(some.claimed.row, End.UNBEGUN) == lives.end(some.claimed.row, End.RETURNED) == []

    # --- asking ------------------------------------------------------------------------------------

    @rule(number=st.integers(0, 3))
    def cancel(self, number: int) -> None:
        self.cancel_one(self.pick(number))

    @rule(some=consumes(tries), end=st.sampled_from(lives.ENDS))
    def cancel_while_it_ends(self, some: Try, end: End) -> None:
        self.cancel_one(some.claimed.row.id)
        self.end_attempt(some, end)

    def cancel_one(self, job_id: uuid.UUID) -> None:
        before = self.job(job_id)
        try:
            event = operate.cancel(job_id, actor=Actor.CLIENT, who="alice")
        except NotAllowed:
            assert before.status in FINAL
            return
        assert event is (Event.REQUEST_CANCEL if before.status == Status.RUNNING else Event.CANCEL)
        self.models[job_id].is_cancel_requested = True

    @rule(number=st.integers(0, 3))
    def rerun(self, number: int) -> None:
        job_id = self.pick(number)
        before = self.job(job_id)
        try:
            operate.rerun(job_id, actor=Actor.CLIENT, who="alice")
        except NotAllowed:
            assert before.status not in TRANSITIONS[Event.RERUN].sources
            return
        self.models[job_id].is_cancel_requested = False

    @rule(number=st.integers(0, 3))
    def promote(self, number: int) -> None:
        self.move_on(self.pick(number))

    @rule(number=st.integers(0, 3), is_done=st.sampled_from([True, False, None]))
    def settle(self, number: int, is_done: bool | None) -> None:
        job_id = self.pick(number)
        before = self.job(job_id)
        try:
            event = operate.settle(job_id, "send", is_done=is_done, evidence="seen", who="ann")
        except EffectNotSettled:
            assert not Effect.objects.filter(job_id=job_id, status="in_doubt").exists()
            return
        if before.status == Status.IN_DOUBT:
            assert event is (Event.CANCEL if self.models[job_id].is_cancel_requested else Event.SETTLE)
        else:
            assert event is None
        if is_done is False:
            self.models[job_id].may_repeat = True

    # --- always ------------------------------------------------------------------------------------

    @invariant()
    def everything_holds(self) -> None:
        found = {job.pk: job for job in Job.objects.all()}
        assert set(found) == set(self.models), "one job per (client, key)"
        for job_id, job in found.items():
            model = self.models[job_id]
            assert job.attempt == model.attempt
            assert (job.status == Status.RUNNING) == (model.holder is not None)
            assert (job.finished_at is None) == (job.status in OPEN)
            assert job.failures <= job.failures_allowed
            assert job.crashes <= job.crashes_allowed
            assert (job.cancel_requested_at is not None) == model.is_cancel_requested
            assert job.version == EventRow.objects.filter(job_id=job_id).count() + 2 * model.taken_back
            if job.status in (Status.QUEUED, Status.SCHEDULED):
                assert job.failures < job.failures_allowed
                assert job.crashes < job.crashes_allowed
            if job.status != Status.RUNNING:
                assert not Effect.objects.filter(job_id=job_id, status="executing").exists()
