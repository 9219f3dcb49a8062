"""A random life of a job, step by step on the real tables and beside them in a plain model.

The model keeps nothing but what is promised: who holds the attempt, what was granted, who asked for
what, and how often each effect's block ran.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

import jobs
from jobs import operate, transitions
from jobs.effects import Done, NotDone, Unknown
from jobs.errors import CancelRequested, EffectHeld, EffectNotSettled, KeyReused, LeaseLost, NotAllowed
from jobs.lifecycle import FINAL, OPEN, TRANSITIONS, Actor, End, Event, Status
from jobs.models import Effect, Job
from jobs.models import Event as EventRow
from jobs.transitions import Claimed
from tests.support import lives

POLICIES = st.sampled_from(list(Effect.OnDoubt.values))
ANSWERS = st.sampled_from([None, Done("told"), NotDone, Unknown])


@dataclass
class Model:
    """One job, as it is promised to be."""

    holder: Claimed | None = None
    attempt: int = 0
    is_cancel_requested: bool = False
    runs: int = 0
    """How often its effect's block ran."""

    may_repeat: bool = False
    """Whether something was said that allows the block to run once more."""


@dataclass
class Try:
    """An attempt that somebody believes to hold; a zombie, where the belief is wrong."""

    claimed: Claimed
    has_effect_open: bool = False


class Life(RuleBasedStateMachine):
    tries: Bundle[Try] = Bundle("tries")

    def __init__(self) -> None:
        super().__init__()
        self.models: dict[uuid.UUID, Model] = {}
        self.keys: dict[tuple[str, str], tuple[uuid.UUID, int]] = {}
        self.block = transaction.atomic()
        self.block.__enter__()

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.block.__exit__(None, None, None)

    def job(self, job_id: uuid.UUID) -> Job:
        return Job.objects.get(pk=job_id)

    def pick(self, number: int) -> uuid.UUID:
        return list(self.models)[number % len(self.models)]

    # --- accepting ---------------------------------------------------------------------------------

    @initialize()
    def first(self) -> None:
        self.submit("alice", "k0", 0, 2)

    @rule(
        client=st.sampled_from(["alice", "bob"]),
        key=st.sampled_from(["k0", "k1"]),
        value=st.integers(0, 1),
        max_attempts=st.just(2),
    )
    def submit(self, client: str, key: str, value: int, max_attempts: int) -> None:
        known = self.keys.get((client, key))
        try:
            found = jobs.submit("echo", {"value": value}, key=key, client=client, max_attempts=max_attempts)
        except KeyReused:
            assert known is not None
            assert known[1] != value
            return
        assert found.is_new == (known is None)
        if known is not None:
            assert known == (found.id, value)
        else:
            self.keys[client, key] = (found.id, value)
            self.models[found.id] = Model()

    # --- running -----------------------------------------------------------------------------------

    @rule(target=tries, number=st.integers(0, 3))
    def claim(self, number: int) -> Any:
        job_id = self.pick(number)
        before = self.job(job_id)
        found = transitions.claim([job_id], lease_id=lives.open_lease(), worker="w1")
        assert bool(found) == (before.status == Status.QUEUED)
        if not found:
            return multiple()
        model = self.models[job_id]
        assert found[0].row.attempt == model.attempt + 1
        model.holder, model.attempt = found[0], found[0].row.attempt
        return Try(found[0])

    def holds(self, some: Try) -> bool:
        return self.models[some.claimed.row.id].holder is some.claimed

    @rule(some=tries, on_doubt=POLICIES, answer=ANSWERS, is_left=st.booleans(), fails=st.booleans())
    def act(self, some: Try, on_doubt: str, answer: Any, is_left: bool, fails: bool) -> None:
        """Enter the effect; leave it well, by an error, or not at all."""
        if some.has_effect_open:
            return
        job_id = some.claimed.row.id
        model = self.models[job_id]
        before = Effect.objects.filter(job_id=job_id).first()
        probe = None if answer is None else (lambda key: answer)
        manager = lives.context_of(some.claimed).effect("send", on_doubt=on_doubt, probe=probe)
        lives.abandon(manager)
        try:
            effect = manager.__enter__()
        except LeaseLost:
            assert not self.holds(some)
            return
        except CancelRequested:
            assert model.is_cancel_requested
            return
        except EffectHeld:
            assert before is not None
            assert before.status in ("executing", "in_doubt")
            assert on_doubt == "hold"
            return
        assert self.holds(some)
        if effect.pending:
            is_doubtful = before is not None and before.status in ("executing", "in_doubt")
            assert model.runs == 0 or model.may_repeat or (is_doubtful and (on_doubt == "repeat" or answer is NotDone))
            assert before is None or before.status != "done"
            model.runs, model.may_repeat = model.runs + 1, False
            if not is_left:
                some.has_effect_open = True
                return
        try:
            if fails:
                error = ConnectionRefusedError("refused")
                assert not manager.__exit__(ConnectionRefusedError, error, None)
            else:
                manager.__exit__(None, None, None)
        except ConnectionRefusedError:
            pass
        if effect.pending and fails:
            model.may_repeat = True

    @rule(some=consumes(tries), end=st.sampled_from(End))
    def end(self, some: Try, end: End) -> None:
        before = self.job(some.claimed.row.id)
        moved = lives.end(some.claimed.row, end, has_effects=True, error_code="x", delay_s=0.0)
        self.has_ended(some.claimed, before, bool(moved), is_crash=end is End.DIED)

    @rule(some=consumes(tries))
    def expire(self, some: Try) -> None:
        before = self.job(some.claimed.row.id)
        assert some.claimed.row.lease_id is not None
        moved = lives.expire(some.claimed.row.lease_id)
        self.has_ended(some.claimed, before, bool(moved), is_crash=True)

    def has_ended(self, claimed: Claimed, before: Job, has_moved: bool, *, is_crash: bool) -> None:
        model = self.models[before.pk]
        assert has_moved == (model.holder is claimed), "only who holds the attempt can end it"
        if has_moved:
            model.holder = None
            after = self.job(before.pk)
            assert after.crashes == before.crashes + is_crash or after.status == Status.SUCCEEDED
            if model.is_cancel_requested:
                assert after.status in (Status.CANCELLED, Status.SUCCEEDED, Status.IN_DOUBT), "a cancel was lost"

    @rule(some=tries)
    def zombie(self, some: Try) -> None:
        """Somebody with the right attempt and the wrong lease."""
        stale = some.claimed.row._replace(lease_id=uuid.uuid4())
        assert lives.end(stale, End.RETURNED) == []

    # --- asking ------------------------------------------------------------------------------------

    @rule(number=st.integers(0, 3))
    def cancel(self, number: int) -> None:
        job_id = self.pick(number)
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
        job_id = self.pick(number)
        before = self.job(job_id)
        moved = transitions.promote([job_id], actor=Actor.HOUSEKEEPING, who="h1")
        assert bool(moved) == (before.status == Status.SCHEDULED)

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
            assert job.version == EventRow.objects.filter(job_id=job_id).count()
            if job.status in (Status.QUEUED, Status.SCHEDULED):
                assert job.failures < job.failures_allowed
                assert job.crashes < job.crashes_allowed
            if job.status != Status.RUNNING:
                assert not Effect.objects.filter(job_id=job_id, status="executing").exists()


@pytest.mark.django_db
def test_a_random_life_keeps_every_promise() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=30,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
