"""Interrupts reach the job that they are meant for, and no other; our commits and effects are spared."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection

from jobs import run
from jobs.context import JobContext
from jobs.errors import CancelRequested, EffectHeld, Interrupted, LeaseLost, SoftTimeout
from jobs.interrupts import Slot, Watch
from jobs.lifecycle import End
from jobs.models import Effect
from tests.records.conftest import Register
from tests.support import lives
from tests.support.eventually import eventually

ROUNDS = 200


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Threads take turns every few steps, so that they meet everywhere."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(usual)


def soon(slot: Slot, token: object, kind: type[Interrupted] = SoftTimeout, seconds: float = 0.02) -> threading.Event:
    """Interrupt from another thread; the event tells when that was done."""
    done = threading.Event()

    def interrupt() -> None:
        slot.interrupt(token, kind)
        done.set()

    threading.Timer(seconds, interrupt).start()
    return done


def spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_a_timeout_in_the_moment_a_handler_returns_never_hits_the_next_job(quick_switches: None) -> None:
    slot = Slot()
    hit = missed = 0
    for number in range(ROUNDS):
        token = object()
        go = threading.Event()

        def interrupt(token: object = token, go: threading.Event = go) -> None:
            go.wait()
            slot.interrupt(token, SoftTimeout)

        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            with slot.running(token):
                go.set()
                spin(number % 50 * 4e-5)  # the handler returns a little later each time
        except SoftTimeout:
            hit += 1
        else:
            missed += 1
        with slot.running(object()):  # the thread's next job
            spin(0.0005)
        spin(0.0002)
        thread.join()
    assert hit + missed == ROUNDS
    assert hit > 0


def test_a_job_is_interrupted_once() -> None:
    slot, token = Slot(), object()
    caught: list[str] = []
    with slot.running(token):
        for kind in (SoftTimeout, CancelRequested):
            try:
                soon(slot, token, kind).wait(10)
                spin(0.01)
            except Interrupted as error:
                caught.append(type(error).__name__)
    assert caught == ["SoftTimeout"]


def test_except_exception_does_not_swallow_it() -> None:
    slot, token = Slot(), object()

    def handler() -> None:
        soon(slot, token)
        while True:
            try:
                spin(0.01)
            except Exception:
                pass

    with pytest.raises(SoftTimeout), slot.running(token):
        handler()


def test_a_masked_commit_is_finished_first() -> None:
    slot, token = Slot(), object()
    finished: list[int] = []

    def handler() -> None:
        with slot.masked():
            soon(slot, token).wait(10)
            assert slot.will_raise
            finished.append(1)
        finished.append(2)

    with pytest.raises(SoftTimeout), slot.running(token):
        handler()
    assert finished == [1]


def test_a_shield_holds_a_cancel_off_but_not_a_timeout() -> None:
    slot, token = Slot(), object()
    finished: list[int] = []

    def handler(kind: type[Interrupted]) -> None:
        with slot.shielded():
            soon(slot, token, kind).wait(10)
            spin(0.01)
            finished.append(1)
        slot.raise_cancel()
        finished.append(2)

    with pytest.raises(CancelRequested), slot.running(token):
        handler(CancelRequested)
    assert finished == [1]
    with pytest.raises(SoftTimeout), slot.running(token):
        handler(SoftTimeout)
    assert finished == [1]


def test_what_is_left_masked_does_not_mask_the_next_job() -> None:
    slot, token = Slot(), object()
    with slot.running(object()):
        slot.masked().__enter__()
    soon(slot, token, seconds=0.05)
    with pytest.raises(SoftTimeout), slot.running(token):
        spin(10)


def test_the_watch_keeps_many_deadlines_in_their_order() -> None:
    watch, told = Watch(), []

    class Told(Slot):
        def interrupt(self, token: object, kind: type[Interrupted]) -> None:
            told.append(token)

    with contextlib.ExitStack() as blocks:
        for number in (3, 1, 2, 0):
            blocks.enter_context(watch.over(number, number * 0.02, Told(), SoftTimeout))
        with watch.over("left in time", 0.03, Told(), SoftTimeout):
            pass
        eventually(lambda: len(told) == 4)
    assert told == [0, 1, 2, 3]


# --- whole attempts ----------------------------------------------------------------------------------------------

attempts = pytest.mark.django_db(transaction=True)


@attempts
def test_a_handler_that_takes_too_long_fails_by_timeout(register: Register) -> None:
    name = register(lambda job, payload: spin(5), timeout_s=1)
    job = lives.attempt(lives.submit(name))
    assert (job.status, job.error_code, job.failures) == ("scheduled", "timeout", 1)


@attempts
def test_an_async_handler_is_interrupted_while_it_awaits(register: Register) -> None:
    cleaned: list[bool] = []

    async def work(job: JobContext, payload: Any) -> None:
        try:
            await asyncio.sleep(30)
        finally:
            cleaned.append(True)

    began = time.monotonic()
    job = lives.attempt(lives.submit(register(work, timeout_s=1)))
    assert (job.status, job.error_code, cleaned) == ("scheduled", "timeout", [True])
    assert time.monotonic() - began < 20


@attempts
def test_a_cancel_waits_for_the_end_of_an_effect(register: Register) -> None:
    after: list[int] = []

    def work(job: JobContext, payload: Any) -> None:
        with job.effect("send") as effect:
            thread = threading.Thread(target=job.cancel)
            thread.start()
            thread.join()
            spin(0.01)
            effect.result = "sent"
        after.append(1)

    job_id = lives.submit(register(work))
    claimed = lives.claim(job_id)
    context = lives.context_of(claimed)
    ended = run.run(claimed, context, context.slot, lives.WATCH)
    assert (ended.end, after) == (End.RELEASED, [])
    assert Effect.objects.get(job_id=job_id).status == "done"


@attempts
@pytest.mark.parametrize(
    ("kind", "began", "status"),
    [(SoftTimeout, [], "not_done"), (CancelRequested, [1], "done")],
    ids=["timeout", "cancel"],
)
def test_an_interrupt_during_the_reservation_leaves_no_doubt(
    kind: type[Interrupted], began: list[int], status: str, register: Register
) -> None:
    """A timeout ends the attempt before the block begins; a cancel waits until the effect is over."""
    found: list[int] = []

    def work(job: JobContext, payload: Any) -> None:
        def interrupt(execute: Any, sql: str, *rest: Any) -> Any:
            if sql.startswith("INSERT INTO jobs_effect"):
                job.slot.interrupt(job.token or object(), kind)
            return execute(sql, *rest)

        with connection.execute_wrapper(interrupt), job.effect("send"):
            found.append(1)
        found.append(2)

    job_id = lives.submit(register(work))
    claimed = lives.claim(job_id)
    context = lives.context_of(claimed)
    run.run(claimed, context, context.slot, lives.WATCH)
    assert (found, Effect.objects.get(job_id=job_id).status) == (began, status)


@attempts
def test_a_cancel_that_came_before_the_handler_interrupts_it_at_its_start(register: Register) -> None:
    job_id = lives.submit(register(lambda job, payload: spin(30)))
    claimed = lives.claim(job_id)
    context = lives.context_of(claimed)
    context.cancel()
    began = time.monotonic()
    assert run.run(claimed, context, context.slot, lives.WATCH).end is End.RELEASED
    assert time.monotonic() - began < 15


# --- a block that holds an interrupt off, and how it ends ---------------------------------------------------------


class Broken(BaseException):
    """What ends a block by itself."""


def hold_off(slot: Slot, token: object, kind: type[Interrupted], error: BaseException | None, name: str) -> None:
    """Have an interrupt come inside such a block, and leave it."""
    with getattr(slot, name)():
        slot.interrupt(token, kind)
        if error is not None:
            raise error


ENDS = [None, ValueError("x"), LeaseLost("x"), EffectHeld("x"), OperationalError("x"), Broken(), GeneratorExit()]


@pytest.mark.parametrize("kind", [SoftTimeout, CancelRequested])
@pytest.mark.parametrize("error", ENDS, ids=lambda error: type(error).__name__)
def test_what_waited_is_raised_at_the_end_of_the_block_however_that_ends(
    error: BaseException | None, kind: type[Interrupted]
) -> None:
    slot, token = Slot(), object()
    with pytest.raises(kind) as caught, slot.running(token):
        hold_off(slot, token, kind, error, "masked")
    assert caught.value.__context__ is error


def started_and_spinning(thread: threading.Thread) -> None:
    thread.start()
    spin(30)


@pytest.mark.parametrize("error", ENDS, ids=lambda error: type(error).__name__)
def test_what_waited_in_another_thread_of_the_handler_interrupts_the_handler(error: BaseException | None) -> None:
    slot, token = Slot(), object()
    raised: list[str] = []

    def elsewhere() -> None:
        try:
            hold_off(slot, token, SoftTimeout, error, "masked")
        except BaseException as found:
            raised.append(type(found).__name__)

    thread = threading.Thread(target=elsewhere)
    with pytest.raises(SoftTimeout), slot.running(token):
        started_and_spinning(thread)
    assert raised == ["SoftTimeout"]
    with slot.running(object()):
        spin(0.02)


def test_a_block_of_another_thread_that_ends_after_the_handler_interrupts_nobody() -> None:
    slot, token, is_over = Slot(), object(), threading.Event()
    inside = threading.Event()

    def elsewhere() -> None:
        with contextlib.suppress(Interrupted), slot.masked():
            slot.interrupt(token, SoftTimeout)
            inside.set()
            is_over.wait(10)

    thread = threading.Thread(target=elsewhere)
    with slot.running(token):
        thread.start()
        inside.wait(10)
    is_over.set()
    thread.join()
    spin(0.02)
    with slot.running(object()):
        spin(0.02)


def interrupting(sql_start: str, error: BaseException | None, job: JobContext) -> Any:
    """Have the soft timeout come in the middle of that statement, which then fails, or does not."""
    left = [1]

    def execute(proceed: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith(sql_start) and left:
            left.pop()
            job.slot.interrupt(job.token or object(), SoftTimeout)
            if error is not None:
                raise error
        return proceed(sql, *rest)

    return connection.execute_wrapper(execute)


@attempts
@pytest.mark.parametrize("error", [None, IntegrityError("x"), Broken()], ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("statement", ["UPDATE jobs_job", "INSERT INTO jobs_effect", "UPDATE jobs_effect"])
@pytest.mark.parametrize("is_transactional", [False, True])
def test_a_timeout_during_a_commit_of_an_effect_ends_the_attempt_however_the_commit_ends(
    error: BaseException | None, statement: str, is_transactional: bool, register: Register
) -> None:
    went_on: list[int] = []

    def work(job: JobContext, payload: Any) -> None:
        try:
            with interrupting(statement, error, job), job.effect("send", transactional=is_transactional):
                pass
        except Exception:
            went_on.append(1)
        went_on.append(2)

    job = lives.attempt(lives.submit(register(work)))
    assert (job.error_code, went_on) == ("timeout", [])


@attempts
@pytest.mark.parametrize("ending", ["lease lost", "held", "own error"])
def test_a_timeout_that_waited_is_not_lost_when_the_effect_ends_the_attempt_by_itself(
    ending: str, register: Register
) -> None:
    def work(job: JobContext, payload: Any) -> None:
        with interrupting("UPDATE jobs_job", None, job), job.effect("send"):
            raise AssertionError("the block must not run")

    job_id = lives.submit(register(work, max_attempts=5))
    claimed = lives.claim(job_id)
    context = lives.context_of(claimed)
    assert claimed.row.lease_id is not None
    if ending == "lease lost":
        lives.expire(claimed.row.lease_id)
    elif ending == "held":
        Effect.objects.create(job_id=job_id, name="send", status="in_doubt", attempt=0, on_doubt="hold")
    else:
        Effect.objects.create(job_id=job_id, name="send", status="executing", attempt=1, on_doubt="hold")
        context.fence.begun.add("send")
    ended = run.run(claimed, context, context.slot, lives.WATCH)
    assert ended.error_code == "timeout"


@attempts
def test_a_cancel_that_an_async_task_held_off_reaches_the_handler(register: Register) -> None:
    """The task that was inside the effect is not the one that awaits it, and its error is swallowed."""
    went_on: list[int] = []

    async def act(job: JobContext) -> None:
        with job.effect("send"):
            job.cancel()

    async def work(job: JobContext, payload: Any) -> None:
        await asyncio.gather(act(job), return_exceptions=True)
        await asyncio.sleep(0.1)
        went_on.append(1)

    job_id = lives.submit(register(work))
    claimed = lives.claim(job_id)
    context = lives.context_of(claimed)
    assert run.run(claimed, context, context.slot, lives.WATCH).end is End.RELEASED
    assert went_on == []
    assert Effect.objects.get(job_id=job_id).status == "done"


@attempts
def test_an_async_handler_that_is_cancelled_at_the_end_of_its_effect_may_still_clean_up(register: Register) -> None:
    cleaned: list[int] = []

    async def work(job: JobContext, payload: Any) -> None:
        try:
            with job.effect("send"):
                job.cancel()
        finally:
            await asyncio.sleep(0.05)
            cleaned.append(1)

    claimed = lives.claim(lives.submit(register(work)))
    context = lives.context_of(claimed)
    assert run.run(claimed, context, context.slot, lives.WATCH).end is End.RELEASED
    assert cleaned == [1]
