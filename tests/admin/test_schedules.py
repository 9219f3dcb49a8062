"""A schedule's page: its times in words, its latest slots, what was dropped, back-fills, alarms, overrides."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from jobs import schedules
from jobs.models import ClockStep, Job, Schedule
from jobs.schedules import tick
from tests.admin.pages import log_in, text

SCHEDULES = "/admin/jobs/schedule/"
START = dt.datetime(2031, 11, 25, 3, 0, tzinfo=dt.UTC)


def make(**columns: Any) -> Schedule:
    wanted = {"name": "beat", "type": "echo", "cron": "30 2 * * 1-5", "time_zone": "Europe/Berlin", **columns}
    schedules.store(Schedule(**wanted), who="alice")
    return Schedule.objects.get(name=wanted["name"])


def test_the_page_says_in_words_when_and_in_both_clocks_when_next(staff: Client) -> None:
    page = text(staff.get(f"{SCHEDULES}{make().pk}/change/"))
    assert "At 02:30, Monday through Friday (Europe/Berlin)" in page
    assert page.count("02:30:00 in Europe/Berlin") == 5
    assert "At 02:30, Monday through Friday" in text(staff.get(SCHEDULES))


def test_the_page_shows_how_late_slots_were_and_which_were_dropped(staff: Client) -> None:
    schedule = make(cron="* * * * *", time_zone="UTC")
    Schedule.objects.update(pointer=START)
    tick(Schedule.objects.get(), START + dt.timedelta(minutes=10, seconds=7))
    page = staff.get(f"{SCHEDULES}{schedule.pk}/change/").content.decode()
    assert '<rect class="job-phase job-queued"' in page
    assert "7.0 s at the median" in page
    assert "9 missed slots were dropped" in page
    assert "2031-11-25T03:01:00Z to 2031-11-25T03:09:00Z" in page
    assert "job-spark" in staff.get(SCHEDULES).content.decode()


def test_a_range_is_back_filled_after_its_preview(staff: Client) -> None:
    schedule = make(cron="0 * * * *", time_zone="UTC")
    url = f"{SCHEDULES}{schedule.pk}/back-fill/"
    data = {"start_0": "2026-01-01", "start": "2026-01-01 00:00", "end": "2026-01-01 03:00"}
    assert "Back-fill" in text(staff.get(url))
    shown = text(staff.post(url, {**data, "_preview": "Preview"}))
    assert "4 jobs will be created" in shown
    assert "2026-01-01T03:00:00Z" in shown
    assert not Job.objects.exists()
    assert "created 4 jobs" in text(staff.post(url, {**data, "_do": "Yes"}, follow=True))
    assert "no slot without a job" in text(staff.post(url, data))
    assert "future" in text(staff.post(url, {**data, "end": "2126-01-01 00:00"}))
    assert Job.objects.count() == 4
    assert "back-filled 4 jobs" in LogEntry.objects.get().change_message


def test_a_range_that_makes_no_sense_is_explained(staff: Client) -> None:
    schedule = make()
    url = f"{SCHEDULES}{schedule.pk}/back-fill/"
    page = staff.post(url, {"start": "0001-01-01 00:00", "end": "2026-01-05 00:00"})
    assert "none of the years 1900" in text(page)


def test_who_may_not_run_a_schedule_may_not_back_fill_it(db: None) -> None:
    schedule = make()
    bob = log_in("bob", "jobs.view_schedule")
    assert bob.get(f"{SCHEDULES}{schedule.pk}/back-fill/").status_code == 403
    assert "Back-fill" not in text(bob.get(f"{SCHEDULES}{schedule.pk}/change/"))


def test_an_overridden_schedule_is_marked_and_given_back(staff: Client) -> None:
    schedules.synchronise()
    row = Schedule.objects.get(name="maintenance")
    row.cron = "30 * * * *"
    schedules.store(row, who="alice")
    page = text(staff.get(f"{SCHEDULES}{row.pk}/change/"))
    assert "in code, overridden here" in page
    assert "Back to the code" in page
    staff.post(f"{SCHEDULES}{row.pk}/do/revert/")
    row.refresh_from_db()
    assert (row.cron, row.is_overridden) == ("0 * * * *", False)
    assert "Back to the code" not in text(staff.get(f"{SCHEDULES}{row.pk}/change/"))


@pytest.mark.parametrize("age_h", [1, 30])
def test_a_step_of_the_clock_is_shown_for_a_day(staff: Client, age_h: int) -> None:
    ClockStep.objects.create(step_s=-120, noticed_by="one", at=dt.datetime.now(dt.UTC) - dt.timedelta(hours=age_h))
    assert ("clock step by -120.0 s" in text(staff.get(SCHEDULES))) == (age_h == 1)


def test_an_intervals_anchor_is_typed_left_alone_or_changed(staff: Client) -> None:
    typed = {
        "name": "pulse", "type": "echo", "payload": "{}", "time_zone": "UTC", "every_s": "60", "enabled": "on",
        "catch_up": "last", "catch_up_window_s": "60", "catch_up_max": "1", "overlap": "allow", "jitter_s": "0",
        "pause_after_failures": "0", "anchor_0": "", "anchor_1": "",
    }  # fmt: skip
    assert staff.post(f"{SCHEDULES}add/", typed).status_code == 302
    made = Schedule.objects.get()
    url = f"{SCHEDULES}{made.pk}/change/"
    shown = {"anchor_0": made.anchor.strftime("%Y-%m-%d"), "anchor_1": made.anchor.strftime("%H:%M:%S")}
    assert staff.post(url, typed | shown).status_code == 302
    assert (Schedule.objects.get().anchor, Schedule.objects.get().version) == (made.anchor, made.version)
    assert staff.post(url, typed | {"anchor_0": "2026-01-01", "anchor_1": "00:00:20"}).status_code == 302
    assert Schedule.objects.get().anchor == dt.datetime(2026, 1, 1, 0, 0, 20, tzinfo=dt.UTC)
    assert "1900" in text(staff.post(url, typed | {"anchor_0": "0001-01-01", "anchor_1": "00:00"}))
