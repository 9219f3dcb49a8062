"""The database fails while an effect begins: the reservation is tried again, and the block still runs once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from jobs.context import JobContext
from tests.records.acting import Script
from tests.records.conftest import Register
from tests.support import lives

pytestmark = pytest.mark.django_db(transaction=True)


class Outage:
    """The next so many statements about effects fail, as with a server that is away."""

    def __init__(self) -> None:
        self.left = 0

    def __call__(self, execute: Any, sql: str, *arguments: Any) -> Any:
        if self.left and "jobs_effect" in sql:
            self.left -= 1
            raise OperationalError("the connection is lost")
        return execute(sql, *arguments)


@pytest.fixture
def outage() -> Iterator[Outage]:
    found = Outage()
    with connection.execute_wrapper(found):
        yield found


class LostAnswer(logging.Handler):
    """After the commit of a reservation, which is when it is logged, its answer is lost once."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 1

    def emit(self, record: logging.LogRecord) -> None:
        if self.left and "reserved" in record.getMessage():
            self.left -= 1
            raise OperationalError("the answer to the commit was lost")


@pytest.fixture
def lost_answer() -> Iterator[LostAnswer]:
    found, log = LostAnswer(), logging.getLogger("jobs.effects")
    level = log.level
    log.addHandler(found)
    log.setLevel(logging.INFO)
    yield found
    log.removeHandler(found)
    log.setLevel(level)


def test_a_database_that_is_away_at_the_entry_costs_no_failure(register: Register, outage: Outage) -> None:
    script = Script(register, [])
    outage.left = 2
    job = script.attempt()
    assert outage.left == 0
    assert (job.status, job.failures, script.effect.status, script.runs) == ("succeeded", 0, "done", [1])


@pytest.mark.parametrize("on_doubt", ["hold", "skip", "repeat"])
def test_a_reservation_whose_answer_was_lost_is_our_own(
    register: Register, lost_answer: LostAnswer, on_doubt: str
) -> None:
    script = Script(register, [], on_doubt=on_doubt)
    job = script.attempt()
    assert lost_answer.left == 0
    assert (job.status, job.failures, script.effect.status, script.runs) == ("succeeded", 0, "done", [1])


def test_an_effect_whose_block_has_run_is_not_run_again_by_its_own_attempt(register: Register, outage: Outage) -> None:
    """Its end could not be recorded; to the database it is as a reservation of this attempt."""
    runs: list[int] = []

    def work(job: JobContext, payload: Any) -> None:
        manager = job.effect("send")
        manager.__enter__()
        runs.append(1)
        lives.abandon(manager)
        outage.left = 1
        with job.effect("send"):
            runs.append(2)

    job = lives.attempt(lives.submit(register(work)))
    assert runs == [1]
    assert outage.left == 0
    assert "entered inside itself" in (job.error_message or "")
    assert job.status == "in_doubt"


def test_inside_a_handlers_own_transaction_nothing_is_tried_again(register: Register, outage: Outage) -> None:
    def work(job: JobContext, payload: Any) -> None:
        outage.left = 1
        with transaction.atomic(), job.effect("send", transactional=True):
            raise AssertionError("the block must not run")

    job = lives.attempt(lives.submit(register(work)))
    assert (job.status, job.error_code, job.failures) == ("scheduled", "OperationalError", 1)
