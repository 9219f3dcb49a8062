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
from django.db import connection

from jobs import run
from jobs.context import JobContext
from jobs.errors import CancelRequested, Interrupted, SoftTimeout
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
