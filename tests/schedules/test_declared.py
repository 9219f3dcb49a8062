"""Schedules that code declares: created, followed, overridden, given back, gone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import jobs
from jobs import registry, schedules
from jobs.errors import InvalidSchedule
from jobs.models import Schedule
from jobs.schedules.declared import declare, withdraw
from jobs.schedules.syncing import GONE

pytestmark = pytest.mark.django_db


@pytest.fixture
def nightly() -> Iterator[None]:
    """`nightly`, declared beside a handler of the test's own."""

    @jobs.schedule("nightly", cron="0 2 * * *", tz="Europe/Berlin", overlap="buffer", pause_after_failures=3)
    @jobs.handler("night-work")
    def work(job: jobs.JobContext, payload: Any) -> None:
        pass

    yield
    withdraw("nightly")
    registry.unregister("night-work")


def stored(name: str = "nightly") -> Schedule:
    return Schedule.objects.get(name=name)


def change(**columns: Any) -> None:
    row = stored()
    for column, value in columns.items():
        setattr(row, column, value)
    schedules.store(row, who="alice")


def redeclare(**options: Any) -> None:
    withdraw("nightly")
    declare("nightly", type="night-work", time_zone="Europe/Berlin", **options)


def test_those_that_ship_are_created_once() -> None:
    schedules.synchronise()
    assert sorted(Schedule.objects.values_list("name", flat=True)) == ["health-check", "maintenance"]
    assert schedules.synchronise() == []
    assert stored("maintenance").is_declared


def test_a_schedule_beside_its_handler_has_the_handlers_type(nightly: None) -> None:
    schedules.synchronise()
    row = stored()
    assert (row.type, row.cron, row.time_zone, row.overlap, row.pause_after_failures, row.is_overridden) == (
        "night-work", "0 2 * * *", "Europe/Berlin", "buffer", 3, False,
    )  # fmt: skip


def test_a_row_that_nobody_changed_follows_the_code(nightly: None) -> None:
    schedules.synchronise()
    redeclare(cron="0 3 * * *")
    assert schedules.synchronise() == ["changed the schedule nightly as its declaration"]
    assert (stored().cron, stored().overlap, stored().is_overridden) == ("0 3 * * *", "allow", False)


def test_what_a_person_changed_stays_and_is_marked_until_it_is_given_back(nightly: None) -> None:
    schedules.synchronise()
    change(cron="30 4 * * *")
    assert stored().is_overridden
    redeclare(cron="0 3 * * *")
    assert schedules.synchronise() == []
    assert stored().cron == "30 4 * * *"
    assert schedules.revert("nightly", who="alice")
    assert (stored().cron, stored().is_overridden) == ("0 3 * * *", False)
    assert not schedules.revert("nightly", who="alice")


def test_a_pause_is_no_override(nightly: None) -> None:
    schedules.synchronise()
    schedules.pause("nightly", who="alice")
    redeclare(cron="0 3 * * *")
    schedules.synchronise()
    assert (stored().enabled, stored().cron, stored().is_overridden) == (False, "0 3 * * *", False)


def test_a_schedule_whose_declaration_is_gone_is_paused_until_it_is_back(nightly: None) -> None:
    schedules.synchronise()
    withdraw("nightly")
    assert schedules.synchronise() == [f"paused the schedule nightly: {GONE}"]
    assert not stored().enabled
    assert not schedules.is_declared(stored())
    redeclare(cron="0 2 * * *")
    schedules.synchronise()
    assert (stored().enabled, stored().paused_because) == (True, "")


def test_a_schedule_of_that_name_that_a_person_made_is_left_alone(nightly: None) -> None:
    schedules.store(Schedule(name="nightly", type="echo", cron="@hourly"), who="alice")
    schedules.synchronise()
    assert (stored().type, stored().is_declared) == ("echo", False)
    with pytest.raises(InvalidSchedule, match="not declared"):
        schedules.revert("nightly", who="alice")


def test_a_declaration_that_makes_no_sense_is_named_and_stops_no_other(nightly: None) -> None:
    redeclare(cron="61 * * * *")
    said = schedules.synchronise()
    assert any("nightly is not valid" in sentence and "minute" in sentence for sentence in said)
    assert stored("maintenance").is_declared


def test_a_name_is_declared_once(nightly: None) -> None:
    with pytest.raises(ValueError, match="declared twice"):
        declare("nightly", type="echo", cron="@daily")
