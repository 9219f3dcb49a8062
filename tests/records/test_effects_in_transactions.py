"""An effect begins only where its reservation is really committed: inside a transaction it is refused."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connection, connections, transaction
from django.test import TestCase

from jobs import operate
from jobs.context import JobContext
from jobs.effects import Done
from jobs.errors import EffectInTransaction
from jobs.lifecycle import Actor, Event
from jobs.models import Effect, Job, QueueState
from jobs.transitions import promote
from tests.records.acting import Script, effects_of, raising
from tests.records.conftest import Register
from tests.support import lives

pytestmark = pytest.mark.django_db(transaction=True)


@contextlib.contextmanager
def autocommit_off() -> Iterator[None]:
    transaction.set_autocommit(False)
    try:
        yield
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)


@contextlib.contextmanager
def plain(begin: str) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute(begin)
        try:
            yield
        finally:
            cursor.execute("ROLLBACK")


@contextlib.contextmanager
def of_the_driver() -> Iterator[None]:
    """What begins a transaction by the driver itself."""
    connection.ensure_connection()
    raw = connection.connection
    if connection.vendor == "postgresql":
        with raw.transaction():
            yield
        return
    raw.execute("SAVEPOINT theirs")
    try:
        yield
    finally:
        raw.execute("RELEASE theirs")


@contextlib.contextmanager
def decorated() -> Iterator[None]:
    """As by a decorator or middleware: the block is entered by somebody else."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(transaction.atomic())
        stack.enter_context(transaction.atomic())
        yield


@contextlib.contextmanager
def broken() -> Iterator[None]:
    """A transaction that can only be rolled back by now."""
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        with contextlib.suppress(ZeroDivisionError), transaction.atomic(savepoint=False):
            raise ZeroDivisionError
        yield


OPEN: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
    "atomic": transaction.atomic,
    "durable": lambda: transaction.atomic(durable=True),
    "no savepoint": lambda: transaction.atomic(savepoint=False),
    "by others": decorated,
    "broken": broken,
    "autocommit off": autocommit_off,
    "BEGIN": lambda: plain("BEGIN"),
    "of the driver": of_the_driver,
}


@pytest.mark.parametrize("way", OPEN)
@pytest.mark.parametrize("on_doubt", ["hold", "skip", "repeat"])
def test_an_effect_inside_a_transaction_is_refused_before_anything_went_out(
    way: str, on_doubt: str, register: Register
) -> None:
    ran: list[int] = []

    def work(job: JobContext, payload: Any) -> None:
        with OPEN[way](), job.effect("charge", on_doubt=on_doubt):
            ran.append(job.attempt)

    job = lives.attempt(lives.submit(register(work)))
    assert ran == []
    assert (job.status, job.error_code, job.attempt) == ("failed", "effect-in-transaction", 1)
    assert "transactional=True" in (job.error_message or "")
    assert effects_of(job.pk) == {}


def test_an_effect_inside_a_transactional_one_is_refused_and_its_rows_are_rolled_back(register: Register) -> None:
    ran: list[int] = []

    def work(job: JobContext, payload: Any) -> None:
        with job.effect("close", transactional=True):
            QueueState.objects.create(name="low", paused_by="it")
            with job.effect("mail"):
                ran.append(1)

    job = lives.attempt(lives.submit(register(work)))
    assert (ran, job.error_code, effects_of(job.pk)) == ([], "effect-in-transaction", {})
    assert not QueueState.objects.exists()


@pytest.mark.parametrize("before", ["done", "in_doubt", "executing"])
def test_whatever_became_of_it_before_it_is_refused_and_no_probe_is_asked(before: str, register: Register) -> None:
    asked: list[str] = []
    script = Script(register, [raising(RuntimeError("?"))] if before == "in_doubt" else [], probe=asked.append)
    if before == "executing":
        script.die()
    else:
        script.attempt()
    if before == "done":
        Job.objects.filter(pk=script.job_id).update(status="failed")
        operate.rerun(script.job_id, actor=Actor.OPERATOR, who="bob")
    status, runs = script.effect.status, list(script.runs)
    script.around = transaction.atomic
    assert script.attempt().error_code == "effect-in-transaction"
    assert (asked, script.runs, script.effect.status) == ([], runs, status)


def test_a_refusal_that_the_handler_swallows_fails_the_job_all_the_same(register: Register) -> None:
    def work(job: JobContext, payload: Any) -> str:
        with contextlib.suppress(Exception), transaction.atomic(), job.effect("mail"):
            pass
        return "fine"

    job = lives.attempt(lives.submit(register(work)))
    assert (job.status, job.error_code) == ("failed", "effect-in-transaction")


def test_an_effect_around_the_refused_one_is_in_doubt_since_it_may_have_happened(register: Register) -> None:
    def work(job: JobContext, payload: Any) -> None:
        with job.effect("outer"), transaction.atomic(), job.effect("inner"):
            pass

    job = lives.attempt(lives.submit(register(work)))
    assert (job.status, effects_of(job.pk)) == ("in_doubt", {"outer": "in_doubt"})


def test_after_the_transaction_and_inside_another_effect_it_may_begin(register: Register) -> None:
    ran: list[str] = []

    def work(job: JobContext, payload: Any) -> None:
        with transaction.atomic():
            QueueState.objects.create(name="low", paused_by="it")
        with job.effect("outer"):
            with transaction.atomic():
                QueueState.objects.create(name="high", paused_by="it")
            with job.effect("inner"):
                ran.append("inner")
            with job.effect("rows", transactional=True):
                ran.append("rows")

    job = lives.attempt(lives.submit(register(work)))
    assert (job.status, ran) == ("succeeded", ["inner", "rows"])
    assert effects_of(job.pk) == {"outer": "done", "inner": "done", "rows": "done"}


# --- other threads -------------------------------------------------------------------------------------------------


def in_a_thread(call: Callable[[], None]) -> None:
    thread = threading.Thread(target=quietly, args=(call,))
    thread.start()
    thread.join()


def quietly(call: Callable[[], None]) -> None:
    """As a thread does whose error nobody sees."""
    try:
        with contextlib.suppress(EffectInTransaction):
            call()
    finally:
        connections.close_all()


def in_a_pool(call: Callable[[], None]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(quietly, call).result()


def in_another_kind_of_pool(call: Callable[[], None]) -> None:
    with ThreadPool(1) as pool:
        pool.apply(quietly, (call,))


def in_a_loop(call: Callable[[], None]) -> None:
    async def main() -> None:
        with contextlib.suppress(EffectInTransaction):
            call()

    async_to_sync(main)()


@pytest.mark.parametrize("elsewhere", [in_a_thread, in_a_pool, in_another_kind_of_pool, in_a_loop])
@pytest.mark.parametrize("way", ["atomic", "BEGIN", "autocommit off"])
def test_inside_a_transaction_of_the_handlers_own_thread_no_other_thread_begins_one(
    elsewhere: Callable[[Callable[[], None]], None], way: str, register: Register
) -> None:
    ran: list[int] = []

    def work(job: JobContext, payload: Any) -> str:
        def act() -> None:
            with job.effect("charge"):
                ran.append(1)

        with OPEN[way]():
            elsewhere(act)
        return "fine"

    job = lives.attempt(lives.submit(register(work)))
    assert (ran, job.status, job.error_code) == ([], "failed", "effect-in-transaction")
    assert "another thread" in (job.error_message or "")
    assert effects_of(job.pk) == {}


def test_a_transaction_that_another_thread_ends_soon_is_waited_for(register: Register) -> None:
    ran: list[int] = []

    def work(job: JobContext, payload: Any) -> None:
        is_inside, has_looked = threading.Event(), threading.Event()

        def act() -> None:
            is_inside.wait(10)
            threading.Timer(0.1, has_looked.set).start()
            with job.effect("charge"):
                ran.append(1)
            connections.close_all()

        thread = threading.Thread(target=act)
        thread.start()
        with transaction.atomic():
            is_inside.set()
            has_looked.wait(10)
        thread.join()

    job = lives.attempt(lives.submit(register(work)))
    assert (job.status, ran, effects_of(job.pk)) == ("succeeded", [1], {"charge": "done"})


@pytest.mark.parametrize("is_of_asgiref", [True, False], ids=["sync_to_async", "executor"])
def test_an_async_handler_begins_none_while_code_that_it_awaits_holds_a_transaction(
    is_of_asgiref: bool, register: Register
) -> None:
    ran: list[int] = []

    async def work(job: JobContext, payload: Any) -> None:
        pool, context = ThreadPoolExecutor(1), contextvars.copy_context()

        async def call(function: Callable[..., object], *arguments: object) -> None:
            if is_of_asgiref:
                await sync_to_async(function)(*arguments)
            else:
                await asyncio.get_running_loop().run_in_executor(pool, context.run, function, *arguments)

        block = transaction.atomic()
        await call(block.__enter__)
        try:
            with job.effect("charge"):
                ran.append(1)
        finally:
            await call(block.__exit__, None, None, None)
            await call(connections.close_all)

    job = lives.attempt(lives.submit(register(work)))
    assert (ran, job.error_code, effects_of(job.pk)) == ([], "effect-in-transaction", {})


def test_what_an_async_handler_leaves_open_concerns_no_other_job(register: Register) -> None:
    async def leaving(job: JobContext, payload: Any) -> None:
        def leave() -> None:
            transaction.atomic().__enter__()
            QueueState.objects.create(name="low", paused_by="it")

        await sync_to_async(leave)()

    async def careful(job: JobContext, payload: Any) -> str:
        with job.effect("charge"):
            pass
        await QueueState.objects.acreate(name="high", paused_by="it")
        return "fine"

    assert lives.attempt(lives.submit(register(leaving))).status == "succeeded"
    assert lives.attempt(lives.submit(register(careful))).result == "fine"
    assert list(QueueState.objects.values_list("name", flat=True)) == ["high"]


def test_an_async_handler_whose_helper_is_busy_leaves_it_behind(register: Register) -> None:
    release = threading.Event()

    async def stuck(job: JobContext, payload: Any) -> None:
        await sync_to_async(QueueState.objects.exists)()
        task = asyncio.ensure_future(sync_to_async(release.wait)(30))
        await asyncio.sleep(0.05)
        task.cancel()

    async def next_one(job: JobContext, payload: Any) -> bool:
        return await QueueState.objects.aexists()

    try:
        assert lives.attempt(lives.submit(register(stuck))).status == "succeeded"
        assert lives.attempt(lives.submit(register(next_one))).result is False
    finally:
        release.set()


# --- transactional effects -----------------------------------------------------------------------------------------


def test_a_transactional_effect_may_be_part_of_the_handlers_own_transaction(register: Register) -> None:
    """Rows, `done` and what stands around it are one commit: together there, or together not."""
    ran: list[int] = []

    def work(job: JobContext, payload: Any) -> None:
        with transaction.atomic():
            with job.effect("close", transactional=True) as effect:
                if effect.pending:
                    ran.append(job.attempt)
                    QueueState.objects.create(name="low", paused_by="it")
            if job.attempt == 1:
                raise ValueError("a later statement")

    job_id = lives.submit(register(work))
    assert lives.attempt(job_id).status == "scheduled"
    assert (effects_of(job_id), QueueState.objects.count()) == ({}, 0)
    promote([job_id], actor=Actor.OPERATOR, who="test")
    assert lives.attempt(job_id).status == "succeeded"
    assert (effects_of(job_id), QueueState.objects.count(), ran) == ({"close": "done"}, 1, [1, 2])


@pytest.mark.parametrize("way", ["autocommit off", "BEGIN", "of the driver"])
def test_a_transactional_effect_is_refused_where_django_does_not_know_of_the_transaction(
    way: str, register: Register
) -> None:
    ran: list[int] = []

    def work(job: JobContext, payload: Any) -> None:
        with OPEN[way](), job.effect("close", transactional=True):
            ran.append(1)

    job = lives.attempt(lives.submit(register(work)))
    assert (ran, job.error_code, effects_of(job.pk)) == ([], "effect-in-transaction", {})


def test_an_old_doubt_is_not_decided_inside_a_transaction(register: Register) -> None:
    asked: list[str] = []

    def probe(key: str) -> Done:
        asked.append(key)
        return Done("x")

    script = Script(register, [raising(RuntimeError("?"))], on_doubt="repeat", probe=probe)
    script.attempt()
    script._options.update(transactional=True)
    script.around = transaction.atomic
    assert script.attempt().error_code == "effect-in-transaction"
    assert (asked, script.runs, script.effect.status) == ([], [1], "in_doubt")


def commit() -> None:
    with connection.cursor() as cursor:
        cursor.execute("COMMIT")


def commit_and_begin() -> None:
    with connection.cursor() as cursor:
        cursor.execute("COMMIT")
        cursor.execute("BEGIN")


def commit_by_the_driver() -> None:
    connection.connection.commit()


@pytest.mark.parametrize(
    "end",
    [lambda: transaction.set_rollback(True), connection.close, commit, commit_and_begin, commit_by_the_driver],
    ids=["set_rollback", "close", "COMMIT", "COMMIT and BEGIN", "commit of the driver"],
)
@pytest.mark.parametrize("is_nested", [False, True])
def test_a_block_that_ends_its_transaction_is_told_so_and_is_not_done(
    end: Callable[[], None], is_nested: bool, register: Register
) -> None:
    def work(job: JobContext, payload: Any) -> str:
        around: Any = transaction.atomic() if is_nested else contextlib.nullcontext()
        with around, job.effect("close", transactional=True):
            QueueState.objects.create(name="low", paused_by="it")
            end()
        return "done"

    job = lives.attempt(lives.submit(register(work)))
    assert (job.status, job.error_code) == ("scheduled", "RuntimeError")
    assert "not done" in (job.error_message or "")
    assert effects_of(job.pk) == {}


# --- what a block leaves behind -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "leave",
    [
        lambda: transaction.atomic().__enter__(),
        lambda: transaction.set_autocommit(False),
        lambda: connection.cursor().execute("BEGIN"),
    ],
    ids=["atomic", "autocommit", "BEGIN"],
)
def test_a_transaction_that_the_block_leaves_open_costs_a_doubt_at_most(
    leave: Callable[[], object], register: Register
) -> None:
    ran: list[int] = []

    def work(job: JobContext, payload: Any) -> None:
        with job.effect("charge") as effect:
            if effect.pending:
                ran.append(job.attempt)
                leave()

    job = lives.attempt(lives.submit(register(work)))
    assert ran == [1]
    assert Effect.objects.get(job_id=job.pk).status in ("done", "in_doubt")
    assert job.status == ("in_doubt" if Effect.objects.get(job_id=job.pk).status == "in_doubt" else "succeeded")


# --- settling --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [way for way in OPEN if way != "broken"])
def test_settling_inside_a_transaction_is_refused(way: str, register: Register) -> None:
    script = Script(register, [raising(RuntimeError("?"))])
    assert script.attempt().status == "in_doubt"
    with pytest.raises(EffectInTransaction, match="outside"), OPEN[way]():
        operate.settle(script.job_id, "send", is_done=True, evidence="a call", who="bob")
    assert script.effect.status == "in_doubt"
    assert operate.settle(script.job_id, "send", is_done=True, evidence="a call", who="bob") is Event.SETTLE
    assert script.effect.status == "done"


def test_inside_a_test_case_effects_and_settling_work_and_a_handlers_own_block_is_found(register: Register) -> None:
    class Case(TestCase):
        def runTest(self) -> None:
            script = Script(register, [raising(RuntimeError("?"))])
            assert script.attempt().status == "in_doubt"
            assert operate.settle(script.job_id, "send", is_done=False, evidence="a call", who="bob") is Event.SETTLE
            assert script.attempt().status == "succeeded"

            def work(job: JobContext, payload: Any) -> None:
                with transaction.atomic(), job.effect("charge"):
                    pass

            assert lives.attempt(lives.submit(register(work))).error_code == "effect-in-transaction"

    found = Case().run()
    assert found is not None
    assert [text for _, text in found.failures + found.errors] == []
