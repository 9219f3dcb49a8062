"""A clock that jumps: an alarm, nothing twice, nothing for ever."""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import dataclass

import pytest

from jobs.models import ClockStep, IdempotencyKey, Job, Schedule
from jobs.schedules import Ticker

START = dt.datetime(2031, 11, 25, 3, 0, tzinfo=dt.UTC)

pytestmark = pytest.mark.django_db


@dataclass
class Clocks:
    """The database's clock, which somebody may set, and a steady one."""

    now: dt.datetime = START
    steady_s: float = 1000.0

    def pass_by(self, seconds: float) -> None:
        self.now += dt.timedelta(seconds=seconds)
        self.steady_s += seconds

    def step(self, seconds: float) -> None:
        self.now += dt.timedelta(seconds=seconds)


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def ticker(clocks: Clocks) -> Ticker:
    Schedule.objects.create(name="beat", type="echo", cron="* * * * *", pointer=START, catch_up="all")
    return Ticker(1, "scheduler one", now=lambda: clocks.now, steady_s=lambda: clocks.steady_s)


def test_time_that_passes_is_no_step(clocks: Clocks, ticker: Ticker) -> None:
    for pause_s in (1, 60, 7200):
        clocks.pass_by(pause_s)
        ticker.turn()
    assert not ClockStep.objects.exists()
    assert Job.objects.count() == 102  # one on time; a hundred made up for, the most; and the latest, on time


def test_a_step_back_raises_the_alarm_and_creates_nothing_twice(
    clocks: Clocks, ticker: Ticker, caplog: pytest.LogCaptureFixture
) -> None:
    clocks.pass_by(0)
    ticker.turn()
    clocks.pass_by(180)
    assert ticker.turn() == 3
    clocks.step(-120)
    with caplog.at_level(logging.ERROR, "jobs.schedules"):
        assert ticker.turn() == 0
    assert "stepped back by 120.0 s" in caplog.text
    assert [step.step_s for step in ClockStep.objects.all()] == [-120.0]
    clocks.pass_by(120)
    assert ticker.turn() == 0
    clocks.pass_by(60)
    assert ticker.turn() == 1
    assert Job.objects.count() == IdempotencyKey.objects.count() == 4


def test_a_step_far_forward_is_waited_out_for_somebody_to_set_it_right(clocks: Clocks, ticker: Ticker) -> None:
    ticker.turn()
    clocks.step(366 * 86_400)
    assert ticker.turn() == 0
    assert ClockStep.objects.count() == 1
    clocks.pass_by(30)
    assert ticker.turn() == 0
    clocks.step(-366 * 86_400)
    clocks.pass_by(30)
    assert ticker.turn() == 1
    assert Schedule.objects.get().pointer == START + dt.timedelta(minutes=1)


def test_a_step_far_forward_that_stays_is_taken_as_true(clocks: Clocks, ticker: Ticker) -> None:
    ticker.turn()
    clocks.step(7200)
    assert ticker.turn() == 0
    clocks.pass_by(61)
    assert ticker.turn() == 101  # a hundred made up for, and one on time


def test_schedules_that_ran_ahead_come_back_with_the_clock_and_double_nothing(clocks: Clocks, ticker: Ticker) -> None:
    ticker.turn()
    clocks.step(600)
    ticker.turn()
    assert Job.objects.count() == 10
    clocks.step(-600)
    ticker.turn()
    assert Schedule.objects.get().pointer == START
    for _ in range(12):
        clocks.pass_by(60)
        ticker.turn()
    assert Job.objects.count() == IdempotencyKey.objects.count() == 12


def test_a_scheduler_that_starts_after_the_clock_went_back_finds_what_ran_ahead(clocks: Clocks) -> None:
    Schedule.objects.create(name="beat", type="echo", cron="* * * * *", pointer=START + dt.timedelta(days=1))
    ticker = Ticker(1, now=lambda: clocks.now, steady_s=lambda: clocks.steady_s)
    ticker.turn()
    clocks.pass_by(60)
    assert ticker.turn() == 1
