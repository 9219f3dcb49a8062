"""Effects: each policy, each way to leave the block, and what a later attempt does."""

from __future__ import annotations

import smtplib
import socket
import ssl
import threading
from typing import Any
from urllib.error import URLError

import pytest

from jobs import Permanent, Retry, lifecycle, operate, transitions
from jobs.context import JobContext
from jobs.effects import Done, NotDone, Unknown
from jobs.errors import CancelRequested, EffectNotSettled, LeaseLost, MalformedRequest
from jobs.lifecycle import Actor, End
from jobs.models import Effect, Event, Job, QueueState
from tests.records.acting import Script, begin, effects_of, giving, raising
from tests.records.conftest import Register
from tests.support import lives

pytestmark = pytest.mark.django_db(transaction=True)

POLICIES = list(Effect.OnDoubt.values)


def caused(error: Exception, by: Exception) -> Exception:
    error.__cause__ = by
    return error


def in_the_course_of(error: Exception, earlier: Exception) -> Exception:
    error.__context__ = earlier
    return error


PROOFS: list[BaseException] = [
    ConnectionRefusedError("refused"),
    socket.gaierror(-2, "name not known"),
    ssl.SSLCertVerificationError("bad certificate"),
    smtplib.SMTPDataError(550, b"no"),
    smtplib.SMTPAuthenticationError(535, b"no"),
    smtplib.SMTPRecipientsRefused({"a@b": (550, b"no")}),
    smtplib.SMTPNotSupportedError("no utf-8"),
    in_the_course_of(smtplib.SMTPNotSupportedError("no utf-8"), UnicodeEncodeError("ascii", "ü", 0, 1, "no")),
    Retry(1),
]
DOUBTS: list[BaseException] = [
    RuntimeError("?"),
    ConnectionResetError("reset after the request"),
    TimeoutError("no answer"),
    smtplib.SMTPServerDisconnected("gone"),
    URLError(TimeoutError("no answer")),
    URLError(ConnectionRefusedError("a redirect leads there, perhaps")),
    caused(RuntimeError("wrapped"), ConnectionRefusedError("the last one of some tries")),
    caused(ConnectionRefusedError("refused"), ConnectionResetError("the first try")),
    in_the_course_of(ConnectionRefusedError("refused"), ConnectionResetError("the first try")),
    ExceptionGroup("some tries", [ConnectionResetError("reset"), ConnectionRefusedError("refused")]),
    smtplib.SMTPDataError(-1, b"a reply that cannot be read"),
    smtplib.SMTPDataError(251, b"taken, in other words"),
    in_the_course_of(RuntimeError("?"), ConnectionRefusedError("an earlier, handled one")),
    SystemExit(1),
]


# The errors stand in loops: each test empties the database after it, which costs more than what it does.


@pytest.mark.parametrize("on_doubt", POLICIES)
def test_an_error_that_proves_that_nothing_happened_lets_the_next_attempt_run_it(
    on_doubt: str, register: Register
) -> None:
    for error in PROOFS:
        script = Script(register, [raising(error)], on_doubt=on_doubt)
        assert (script.attempt().status, script.effect.status) == ("scheduled", "not_done"), error
        assert (script.attempt().status, script.effect.status) == ("succeeded", "done")
        assert script.runs == [1, 2]


def test_any_other_error_is_doubt_and_hold_waits_for_a_person(register: Register) -> None:
    for error in DOUBTS:
        script = Script(register, [raising(error)])
        assert (script.attempt().status, script.effect.status) == ("in_doubt", "in_doubt"), error
        assert script.runs == [1]


def test_any_other_error_is_doubt_and_skip_never_runs_it_again(register: Register) -> None:
    for error in DOUBTS:
        script = Script(register, [raising(error)], on_doubt="skip")
        assert (script.attempt().status, script.effect.status) == ("scheduled", "in_doubt"), error
        assert script.attempt().status == "succeeded"
        assert (script.effect.status, script.effect.settled_by) == ("done", "policy")
        assert script.runs == [1]


def test_any_other_error_is_doubt_and_repeat_runs_it_again(register: Register) -> None:
    for error in DOUBTS:
        script = Script(register, [raising(error)], on_doubt="repeat")
        assert script.attempt().status == "scheduled"
        assert script.attempt().status == "succeeded"
        assert script.runs == [1, 2], error


@pytest.mark.parametrize(
    ("on_doubt", "after", "runs"),
    [("hold", "in_doubt", [1]), ("skip", "queued", [1]), ("repeat", "queued", [1, 2])],
)
def test_death_inside_the_block_is_doubt(on_doubt: str, after: str, runs: list[int], register: Register) -> None:
    script = Script(register, [], on_doubt=on_doubt)
    assert (script.die().status, script.effect.status) == (after, "in_doubt")
    assert script.job.crashes == 1
    if after == "queued":
        assert script.attempt().status == "succeeded"
    assert script.runs == runs


def test_a_permanent_error_inside_proves_that_nothing_happened(register: Register) -> None:
    script = Script(register, [raising(Permanent("no", "never"))])
    job = script.attempt()
    assert (job.status, job.error_code, script.effect.status) == ("failed", "no", "not_done")


@pytest.mark.parametrize("error", [None, RuntimeError("?")], ids=["left well", "left by an error"])
def test_a_handler_may_state_that_nothing_happened(error: Exception | None, register: Register) -> None:
    def act(effect: Any) -> None:
        effect.not_done()
        if error:
            raise error

    script = Script(register, [act])
    assert script.attempt().status == ("scheduled" if error else "succeeded")
    assert script.effect.status == "not_done"


def test_a_list_of_ones_own_replaces_the_errors_that_prove(register: Register) -> None:
    script = Script(register, [raising(KeyError("no"))], not_done_on=(KeyError,))
    assert (script.attempt().status, script.effect.status) == ("scheduled", "not_done")
    script = Script(register, [raising(ConnectionRefusedError())], not_done_on=(KeyError,))
    assert script.attempt().status == "in_doubt"


# --- results ----------------------------------------------------------------------------------------------


def test_a_done_effect_gives_its_stored_result_to_later_attempts(register: Register) -> None:
    name = register(lambda job, payload: work(job))
    found: list[tuple[bool, Any]] = []

    def work(job: JobContext) -> None:
        with job.effect("send") as effect:
            found.append((effect.pending, effect.result))
            if effect.pending:
                effect.result = {"id": 7, "key": effect.key}
        if job.attempt == 1:
            raise RuntimeError("after the effect")

    job_id = lives.submit(name)
    lives.attempt(job_id)
    Job.objects.filter(pk=job_id).update(run_after=None)
    operate.promote(job_id, actor=Actor.OPERATOR, who="x")
    assert lives.attempt(job_id).status == "succeeded"
    assert found == [(True, None), (False, {"id": 7, "key": f"{job_id}.send"})]


UNSTORABLE = [object(), float("nan"), "a\x00b", "\ud800", 2**70, "x" * 300_000]


def test_a_result_that_cannot_be_stored_does_not_undo_what_happened(register: Register) -> None:
    for result in UNSTORABLE:
        script = Script(register, [giving(result)])
        job = script.attempt()
        assert (job.status, job.error_code) == ("failed", "unstorable")
        assert (script.effect.status, script.effect.result) == ("done", None)
        operate.rerun(job.pk, actor=Actor.OPERATOR, who="x")
        assert script.attempt().status == "succeeded"
        assert script.runs == [1]


# --- probes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_doubt", POLICIES)
def test_a_probe_that_knows_decides_whatever_the_policy(on_doubt: str, register: Register) -> None:
    asked: list[str] = []

    def done(key: str) -> Any:
        asked.append(key)
        return Done({"id": 7})

    script = Script(register, [raising(RuntimeError())], on_doubt=on_doubt, probe=done)
    assert script.attempt().status == "scheduled"
    assert script.attempt().status == "succeeded"
    assert (script.effect.status, script.effect.settled_by, script.effect.result) == ("done", "probe", {"id": 7})
    assert (script.runs, script.results, asked) == ([1], [{"id": 7}], [f"{script.job_id}.send"])

    script = Script(register, [raising(RuntimeError())], on_doubt=on_doubt, probe=lambda key: NotDone)
    script.attempt()
    assert script.attempt().status == "succeeded"
    assert script.runs == [1, 2]


@pytest.mark.parametrize(
    ("on_doubt", "after", "runs"),
    [("hold", "in_doubt", [1]), ("skip", "succeeded", [1]), ("repeat", "succeeded", [1, 2])],
)
def test_a_probe_that_does_not_know_leaves_it_to_the_policy(
    on_doubt: str, after: str, runs: list[int], register: Register
) -> None:
    for unknown in (Unknown(), Unknown):
        script = Script(register, [raising(RuntimeError())], on_doubt=on_doubt, probe=lambda key, u=unknown: u)
        script.attempt()
        assert script.attempt().status == after
        assert script.runs == runs


def test_a_probe_that_fails_is_a_failure_of_the_attempt_and_is_asked_again(register: Register) -> None:
    answers: list[Any] = [ConnectionError("no answer"), Done()]

    def probe(key: str) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    script = Script(register, [raising(RuntimeError())], probe=probe)
    script.attempt()
    job = script.attempt()
    assert (job.status, job.failures, job.error_code) == ("scheduled", 2, "ConnectionError")
    assert script.attempt().status == "succeeded"
    assert script.runs == [1]


def test_a_job_whose_probe_can_tell_is_not_held(register: Register) -> None:
    script = Script(register, [], probe=lambda key: Done())
    assert script.die().status == "queued"
    assert script.attempt().status == "succeeded"


def test_what_a_person_settled_while_the_probe_was_asked_is_not_run_again(register: Register) -> None:
    def settles(key: str) -> Any:
        thread = threading.Thread(target=_settle_from_outside, args=(script.job_id,))
        thread.start()
        thread.join()
        return Unknown()

    script = Script(register, [raising(RuntimeError())], on_doubt="repeat", probe=settles)
    script.attempt()
    assert script.attempt().status == "succeeded"
    assert (script.effect.status, script.effect.settled_by, script.runs) == ("done", "ann", [1])


def _settle_from_outside(job_id: Any) -> None:
    from django.db import connection

    operate.settle(job_id, "send", is_done=True, evidence="seen", who="ann")
    connection.close()


# --- the entry ----------------------------------------------------------------------------------------------


def test_an_effect_entered_inside_itself_is_an_error_of_the_handler(register: Register) -> None:
    def work(job: JobContext, payload: Any) -> None:
        with job.effect("send"), job.effect("send"):
            pass

    job = lives.attempt(lives.submit(register(work)))
    assert job.status == "in_doubt"  # the outer block was left by an exception
    assert "entered inside itself" in (job.error_message or "")


def test_a_swallowed_hold_is_a_doubt_all_the_same(register: Register) -> None:
    runs: list[int] = []

    def work(job: JobContext, payload: Any) -> str:
        try:
            with job.effect("send"):
                runs.append(job.attempt)
                raise RuntimeError
        except BaseException:
            return "nothing happened"

    assert lives.attempt(lives.submit(register(work))).status == "in_doubt"


def test_a_swallowed_doubt_that_may_be_repeated_is_a_failure_with_a_reason(register: Register) -> None:
    def work(job: JobContext, payload: Any) -> str:
        try:
            with job.effect("send", on_doubt="repeat"):
                raise RuntimeError
        except RuntimeError:
            return "as if nothing had happened"

    job = lives.attempt(lives.submit(register(work, max_attempts=1)))
    assert (job.status, job.error_code, job.result) == ("failed", "effect-in-doubt", None)


def test_a_lease_lost_before_the_entry_reserves_nothing() -> None:
    claimed = lives.claim(lives.submit())
    assert claimed.row.lease_id is not None
    lives.expire(claimed.row.lease_id)
    with pytest.raises(LeaseLost), lives.context_of(claimed).effect("send"):
        raise AssertionError("the block must not run")
    assert effects_of(claimed.row.id) == {}


@pytest.mark.parametrize("transactional", [False, True])
def test_a_lease_lost_inside_the_block_records_nothing(transactional: bool) -> None:
    claimed = lives.claim(lives.submit())
    context = lives.context_of(claimed)
    lease_id = claimed.row.lease_id
    assert lease_id is not None
    if transactional:  # the job row is locked, so that the lease cannot end in between; before it can
        lives.expire(lease_id)
        with pytest.raises(LeaseLost), context.effect("send", transactional=True):
            raise AssertionError("the block must not run")
        assert effects_of(claimed.row.id) == {}
    else:
        with pytest.raises(LeaseLost), context.effect("send"):
            lives.expire(lease_id)
        assert effects_of(claimed.row.id) == {"send": "in_doubt"}


def test_a_cancel_that_was_requested_stops_the_job_before_its_effect(register: Register) -> None:
    runs: list[int] = []

    def work(job: JobContext, payload: Any) -> None:
        operate.cancel(job.id, actor=Actor.CLIENT, who="alice")
        try:
            with job.effect("send"):
                runs.append(job.attempt)
        except Exception:
            runs.append(-1)

    job_id = lives.submit(register(work))
    assert lives.attempt(job_id).status == "cancelled"
    assert runs == []
    assert effects_of(job_id) == {}


def test_every_effect_of_a_job_is_its_own(register: Register) -> None:
    def work(job: JobContext, payload: Any) -> None:
        for name in ("a", "b", "c"):
            with job.effect(name) as effect:
                effect.result = effect.key

    job_id = lives.submit(register(work))
    assert lives.attempt(job_id).status == "succeeded"
    assert effects_of(job_id) == {"a": "done", "b": "done", "c": "done"}


@pytest.mark.parametrize("name", ["", "a b", "ä", "-a", "a" * 65])
def test_a_name_or_policy_that_is_none_is_refused(name: str) -> None:
    context = lives.context_of(lives.claim(lives.submit()))
    with pytest.raises(ValueError, match="no name of an effect"):
        context.effect(name)
    with pytest.raises(ValueError, match="on_doubt"):
        context.effect("send", on_doubt="hope")


# --- transactional --------------------------------------------------------------------------------------------


def test_a_transactional_effect_is_committed_with_its_rows(register: Register) -> None:
    def work(job: JobContext, payload: Any) -> None:
        with job.effect("pause", transactional=True) as effect:
            if effect.pending:
                QueueState.objects.create(name=f"q{job.attempt}")
        if job.attempt < 3:
            raise RuntimeError

    job_id = lives.submit(register(work))
    for _ in range(3):
        transitions.promote([job_id], actor=Actor.OPERATOR, who="x")
        job = lives.attempt(job_id)
    assert job.status == "succeeded"
    assert list(QueueState.objects.values_list("name", flat=True)) == ["q1"]
    assert effects_of(job_id) == {"pause": "done"}


def test_a_transactional_effect_that_fails_leaves_neither_rows_nor_doubt(register: Register) -> None:
    def work(job: JobContext, payload: Any) -> None:
        with job.effect("pause", transactional=True):
            QueueState.objects.create(name=f"q{job.attempt}")
            if job.attempt == 1:
                raise RuntimeError

    job_id = lives.submit(register(work))
    assert lives.attempt(job_id).status == "scheduled"
    assert (QueueState.objects.count(), effects_of(job_id)) == (0, {})
    transitions.promote([job_id], actor=Actor.OPERATOR, who="x")
    assert lives.attempt(job_id).status == "succeeded"
    assert list(QueueState.objects.values_list("name", flat=True)) == ["q2"]


@pytest.mark.parametrize(("on_doubt", "status"), [("hold", "in_doubt"), ("skip", "succeeded"), ("repeat", "succeeded")])
def test_an_effect_that_became_transactional_keeps_the_doubt_of_its_past(
    on_doubt: str, status: str, register: Register
) -> None:
    script = Script(register, [], on_doubt="repeat")
    script.die()
    script._options.update(on_doubt=on_doubt, transactional=True)
    assert script.attempt().status == status
    assert script.runs == ([1, 2] if on_doubt == "repeat" else [1])


def test_an_async_handler_has_effects_but_no_transactional_ones(register: Register) -> None:
    async def work(job: JobContext, payload: Any) -> None:
        with job.effect("send") as effect:
            effect.result = "sent"
        with pytest.raises(RuntimeError, match="plain `def`"), job.effect("rows", transactional=True):
            pass

    job_id = lives.submit(register(work))
    assert lives.attempt(job_id).status == "succeeded"
    assert effects_of(job_id) == {"send": "done"}


# --- settling ---------------------------------------------------------------------------------------------------


def settle(script: Script, is_done: bool | None, **options: Any) -> lifecycle.Event | None:
    return operate.settle(script.job_id, "send", is_done=is_done, evidence="looked", who="ann", **options)


def test_settled_as_done_it_gives_the_operators_result_and_is_not_run_again(register: Register) -> None:
    script = Script(register, [raising(RuntimeError())])
    script.attempt()
    assert settle(script, True, result={"id": 7}) is lifecycle.Event.SETTLE
    assert (script.effect.settled_by, script.effect.evidence) == ("ann", "looked")
    assert script.attempt().status == "succeeded"
    assert (script.runs, script.results) == ([1], [{"id": 7}])


def test_settled_as_not_done_it_is_run_again(register: Register) -> None:
    script = Script(register, [raising(RuntimeError())])
    script.attempt()
    assert settle(script, False) is lifecycle.Event.SETTLE
    assert script.attempt().status == "succeeded"
    assert script.runs == [1, 2]


def test_its_probe_may_be_asked_again(register: Register) -> None:
    answers: list[Any] = [Unknown(), Done("found")]
    script = Script(register, [raising(RuntimeError())], probe=lambda key: answers.pop(0))
    script.attempt()
    assert script.attempt().status == "in_doubt"
    assert settle(script, None) is lifecycle.Event.SETTLE
    assert script.attempt().status == "succeeded"
    assert (script.runs, script.results) == ([1], ["found"])


def test_a_job_waits_until_none_of_its_effects_is_in_doubt() -> None:
    claimed = lives.claim(lives.submit())
    context = lives.context_of(claimed)
    for name in ("a", "b"):
        with pytest.raises(RuntimeError), context.effect(name):
            raise RuntimeError
    lives.end(claimed.row, End.RAISED, has_effects=True)
    assert operate.settle(claimed.row.id, "a", is_done=True, evidence="", who="ann") is None
    assert Job.objects.get(pk=claimed.row.id).status == "in_doubt"
    assert operate.settle(claimed.row.id, "b", is_done=True, evidence="", who="ann") is lifecycle.Event.SETTLE


def test_settling_a_job_whose_cancel_was_requested_cancels_it_in_the_same_commit(register: Register) -> None:
    script = Script(register, [])
    claimed = lives.claim(script.job_id)
    begin(lives.context_of(claimed), script.runs)
    operate.cancel(script.job_id, actor=Actor.CLIENT, who="alice")
    assert claimed.row.lease_id is not None
    lives.expire(claimed.row.lease_id)
    assert script.job.status == "in_doubt"
    assert settle(script, True) is lifecycle.Event.CANCEL
    assert script.job.status == "cancelled"
    assert list(Event.objects.filter(job_id=script.job_id).values_list("event", flat=True)[3:]) == [
        "doubt", "settle", "cancel",
    ]  # fmt: skip


def test_only_an_effect_in_doubt_can_be_settled(register: Register) -> None:
    script = Script(register, [])
    script.attempt()
    with pytest.raises(EffectNotSettled):
        settle(script, True)


def test_a_settled_result_must_be_storable(register: Register) -> None:
    script = Script(register, [raising(RuntimeError())])
    script.attempt()
    for result in UNSTORABLE:
        with pytest.raises(MalformedRequest):
            settle(script, True, result=result)
        assert script.effect.status == "in_doubt"


def test_a_doubtful_effect_stays_doubtful_after_a_rerun(register: Register) -> None:
    script = Script(register, [raising(RuntimeError())])
    job = script.attempt()
    operate.cancel(job.pk, actor=Actor.OPERATOR, who="ann")
    operate.rerun(job.pk, actor=Actor.OPERATOR, who="ann")
    assert script.attempt().status == "in_doubt"
    assert (script.runs, script.effect.status) == ([1], "in_doubt")


def test_a_job_that_is_settled_after_its_last_failure_gets_another_attempt_within_its_allowance(
    register: Register,
) -> None:
    script = Script(register, [raising(RuntimeError())], max_attempts=1)
    assert script.attempt().failures == 1
    settle(script, False)
    assert script.job.failures_allowed == 2
    assert script.attempt().status == "succeeded"


def test_a_cancel_requested_at_the_entry_is_not_swallowed_by_except_exception() -> None:
    assert not issubclass(CancelRequested, Exception)
    assert not issubclass(LeaseLost, Exception)
