"""Making and changing schedules."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from jobs import schedules
from jobs.errors import InvalidSchedule, ScheduleNotFound
from jobs.models import Job, Schedule

LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)

pytestmark = pytest.mark.django_db


def wanted(**columns: Any) -> Schedule:
    return Schedule(**({"name": "beat", "type": "echo", "cron": "* * * * *"} | columns))


@pytest.mark.parametrize(
    ("columns", "field", "part"),
    [
        ({"name": "two words"}, "name", "A name is"),
        ({"name": "a:b"}, "name", "A name is"),
        ({"type": "unknown"}, "type", "no handler"),
        ({"payload": {"valeu": 1}}, "payload", "valeu"),
        ({"payload": [1]}, "payload", "object"),
        ({"payload": {"value": "\x00"}}, "payload", "NUL"),
        ({"queue": "nowhere"}, "queue", "no queue"),
        ({"cron": "61 * * * *"}, "cron", "minute"),
        ({"time_zone": "Mars"}, "time_zone", "no time zone"),
        ({"cron": ""}, "cron", "either"),
        ({"every_s": 5}, "cron", "either"),
        ({"cron": "", "every_s": 0}, "every_s", "from 1"),
        ({"catch_up": "some"}, "catch_up", "Choose"),
        ({"overlap": "some"}, "overlap", "Choose"),
        ({"catch_up_max": 5000}, "catch_up_max", "from 0"),
        ({"catch_up_window_s": 10**9}, "catch_up_window_s", "from 0"),
        ({"jitter_s": -1}, "jitter_s", "from 0"),
        ({"ends_at": LONG_AGO, "starts_at": LONG_AGO}, "ends_at", "after the start"),
        ({"starts_at": dt.datetime(1, 1, 1, tzinfo=dt.UTC)}, "starts_at", "1900"),
        ({"ends_at": dt.datetime(9999, 12, 31, tzinfo=dt.UTC)}, "ends_at", "9998"),
        ({"cron": "", "every_s": 5, "anchor": dt.datetime(1, 1, 1, tzinfo=dt.UTC)}, "anchor", "1900"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused_with_the_reason(
    columns: dict[str, Any], field: str, part: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        schedules.store(wanted(**columns), who="alice")
    assert part in " ".join(refused.value.message_dict[field])
    assert not Schedule.objects.exists()


def test_a_new_schedule_starts_at_the_present() -> None:
    assert schedules.store(wanted(), who="alice")
    stored = Schedule.objects.get()
    assert stored.pointer is not None
    assert abs(stored.pointer - dt.datetime.now(dt.UTC)) < dt.timedelta(seconds=10)
    assert stored.changed_by == "alice"


def test_storing_the_same_again_changes_nothing() -> None:
    schedules.store(wanted(), who="alice")
    assert not schedules.store(wanted(), who="bob")
    assert (Schedule.objects.get().version, Schedule.objects.get().changed_by) == (1, "alice")


def test_an_edit_raises_the_version_and_keeps_the_pointer() -> None:
    schedules.store(wanted(), who="alice")
    Schedule.objects.update(pointer=LONG_AGO)
    assert schedules.store(wanted(payload={"value": 1}), who="bob")
    stored = Schedule.objects.get()
    assert (stored.version, stored.pointer, stored.changed_by) == (2, LONG_AGO, "bob")


def test_a_change_of_the_times_begins_anew_at_the_present() -> None:
    schedules.store(wanted(), who="alice")
    Schedule.objects.update(pointer=LONG_AGO)
    schedules.store(wanted(cron="*/2 * * * *"), who="alice")
    assert Schedule.objects.get().pointer != LONG_AGO


def test_a_resumed_schedule_goes_on_from_the_present() -> None:
    schedules.store(wanted(), who="alice")
    assert schedules.pause("beat", who="bob")
    assert not schedules.pause("beat", who="bob")
    Schedule.objects.update(pointer=LONG_AGO)
    assert schedules.resume("beat", who="bob")
    stored = Schedule.objects.get()
    assert stored.enabled
    assert stored.pointer != LONG_AGO
    assert stored.version == 3


def test_a_run_by_hand_leaves_the_slots_alone() -> None:
    schedules.store(wanted(), who="alice")
    pointer = Schedule.objects.get().pointer
    submitted = schedules.run_now("beat", who="alice")
    job = Job.objects.get()
    assert job.id == submitted.id
    assert (job.key or "").startswith("schedule:beat:")
    stored = Schedule.objects.get()
    assert (stored.pointer, stored.last_job_id) == (pointer, job.id)


def test_an_unknown_schedule_is_said_to_be_unknown() -> None:
    for verb in (schedules.pause, schedules.resume, schedules.run_now):
        with pytest.raises(ScheduleNotFound):
            verb("nobody", who="alice")
    with pytest.raises(ScheduleNotFound):
        schedules.remove("nobody")


def test_a_declared_schedule_cannot_be_removed() -> None:
    schedules.synchronise()
    with pytest.raises(InvalidSchedule, match="pause it"):
        schedules.remove("maintenance")


def test_a_removed_schedule_leaves_its_jobs() -> None:
    schedules.store(wanted(), who="alice")
    schedules.run_now("beat", who="alice")
    schedules.remove("beat")
    assert Job.objects.count() == 1
    assert not Schedule.objects.exists()


def test_the_next_slots_of_an_interval_keep_its_distance() -> None:
    schedules.store(wanted(cron="", every_s=5), who="alice")
    first, second, third = schedules.upcoming(Schedule.objects.get(), 3)
    assert second - first == third - second == dt.timedelta(seconds=5)


@pytest.mark.parametrize(
    ("columns", "start", "part"),
    [
        ({}, dt.datetime(1, 1, 1, tzinfo=dt.UTC), "1900"),
        ({}, dt.datetime(2200, 1, 1, tzinfo=dt.UTC), "before it begins"),
        ({}, LONG_AGO, "more than 1,000 slots"),
        ({"time_zone": "Mars/Olympus"}, LONG_AGO, "no time zone"),
    ],
)
def test_a_back_fill_that_makes_no_sense_is_refused_with_the_reason(
    columns: dict[str, Any], start: dt.datetime, part: str
) -> None:
    """A row may name a zone that is none: it was written past `store`, or the machine's zones have changed since."""
    wanted(**columns, pointer=LONG_AGO).save()
    with pytest.raises(InvalidSchedule, match=part):
        schedules.backfill("beat", start, dt.datetime.now(dt.UTC), who="alice")
    assert not Job.objects.exists()
