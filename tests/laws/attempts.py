"""Jobs that are accepted and attempted at random, on the real tables and beside them in a plain model.

The model keeps nothing but what is promised: who holds the attempt, what was granted, who asked for
what, and how often each effect's block ran.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, multiple, rule

import jobs
from jobs import transitions
from jobs.effects import Done, NotDone, Unknown
from jobs.errors import CancelRequested, EffectHeld, KeyReused, LeaseLost
from jobs.lifecycle import Actor, End, Status
from jobs.models import Effect, Job
from jobs.transitions import Claimed
from tests.support import lives

POLICIES = st.sampled_from(list(Effect.OnDoubt.values))
JOBS = 8
"""In one life, at most: what happens to one is seldom seen among many."""
ANSWERS = st.sampled_from([None, Done("told"), NotDone, Unknown])


@dataclass
class Model:
    """One job, as it is promised to be."""

    holder: Claimed | None = None
    attempt: int = 0
    is_cancel_requested: bool = False
    runs: int = 0
    """How often its effect's block ran."""

    taken_back: int = 0
    """How often it was claimed, and no handler began."""

    may_repeat: bool = False
    """Whether something was said that allows the block to run once more."""


@dataclass
class Try:
    """An attempt that somebody believes to hold; a zombie, where the belief is wrong."""

    claimed: Claimed
    has_effect_open: bool = False


class Attempts(RuleBasedStateMachine):
    tries: Bundle[Try] = Bundle("tries")

    def __init__(self) -> None:
        super().__init__()
        self.models: dict[uuid.UUID, Model] = {}
        self.keys: dict[tuple[str, str], tuple[uuid.UUID, int]] = {}
        self.block: Any = transaction.atomic()
        self.block._from_testcase = True  # in an ordinary block no effect would begin
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

    def fresh(self) -> Any:
        """The first attempt of a job of its own; nothing where there are many jobs already."""
        if len(self.models) >= JOBS:
            return multiple()
        found = jobs.submit("echo", {}, client="alice", max_attempts=2)
        self.models[found.id] = Model()
        return self.claim_one(found.id)

    # --- running -----------------------------------------------------------------------------------

    @rule(target=tries, number=st.integers(0, 3))
    def claim(self, number: int) -> Any:
        return self.claim_one(self.pick(number))

    def claim_one(self, job_id: uuid.UUID) -> Any:
        before = self.job(job_id)
        found = transitions.claim([job_id], lease_id=lives.open_lease(), worker="w1")
        assert bool(found) == (before.status == Status.QUEUED)
        if not found:
            return multiple()
        model = self.models[job_id]
        assert found[0].row.attempt == model.attempt + 1
        model.holder, model.attempt = found[0], found[0].row.attempt
        return Try(found[0])

    @rule(target=tries, some=consumes(tries), end=st.sampled_from([End.RAISED, End.RELEASED, End.DIED]))
    def fail_and_go_on(self, some: Try, end: End) -> Any:
        return self.try_again(some, end)

    @rule(end=st.sampled_from([End.RAISED, End.DIED]))
    def fail_until_it_is_over(self, end: End) -> None:
        """No job has more than two failures or three crashes to give."""
        found = self.fresh()
        for _ in range(4):
            if not isinstance(found, Try):
                return
            found = self.try_again(found, end)
        raise AssertionError("a budget was not held")

    def try_again(self, some: Try, end: End) -> Any:
        """What most lives are made of: an attempt ends without success, and the next one begins when it is due."""
        job_id = some.claimed.row.id
        self.end_attempt(some, end)
        found = self.claim_one(job_id)
        if not isinstance(found, Try):
            self.move_on(job_id)
            found = self.claim_one(job_id)
        assert lives.end(some.claimed.row, End.RETURNED) == [], "a stale lease ended a later attempt"
        return found

    def move_on(self, job_id: uuid.UUID) -> None:
        before = self.job(job_id)
        moved = transitions.promote([job_id], actor=Actor.HOUSEKEEPING, who="h1")
        assert bool(moved) == (before.status == Status.SCHEDULED)

    def holds(self, some: Try) -> bool:
        return self.models[some.claimed.row.id].holder is some.claimed

    @rule(some=tries, on_doubt=POLICIES, answer=ANSWERS, is_left=st.booleans(), fails=st.booleans())
    def act(self, some: Try, on_doubt: str, answer: Any, is_left: bool, fails: bool) -> None:
        self.do_effect(some, on_doubt, answer, is_left=is_left, fails=fails)

    @rule(
        target=tries,
        policies=st.tuples(POLICIES, POLICIES),
        answer=ANSWERS,
        is_left=st.booleans(),
        end=st.sampled_from([End.RAISED, End.RELEASED, End.DIED]),
    )
    def act_in_two_attempts(self, policies: tuple[str, str], answer: Any, is_left: bool, end: End) -> Any:
        """What effects are for: the second attempt meets what the first one left."""
        some = self.fresh()
        if not isinstance(some, Try):
            return some
        self.do_effect(some, policies[0], None, is_left=is_left, fails=False)
        found = self.try_again(some, end)
        if isinstance(found, Try):
            self.do_effect(found, policies[1], answer, is_left=True, fails=False)
        return found

    def do_effect(self, some: Try, on_doubt: str, answer: Any, *, is_left: bool, fails: bool) -> None:
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

    @rule(some=consumes(tries), end=st.sampled_from(lives.ENDS))
    def end(self, some: Try, end: End) -> None:
        self.end_attempt(some, end)

    def end_attempt(self, some: Try, end: End) -> None:
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
            held = Effect.objects.filter(job_id=before.pk, status="in_doubt", on_doubt="hold", has_probe=False)
            assert (after.status == Status.IN_DOUBT) == held.exists(), "only a person may say what happened"
            assert after.crashes == before.crashes + is_crash or after.status == Status.SUCCEEDED
            if model.is_cancel_requested:
                assert after.status in (Status.CANCELLED, Status.SUCCEEDED, Status.IN_DOUBT), "a cancel was lost"
