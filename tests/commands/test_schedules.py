"""manage.py schedules: schedules as code."""

from __future__ import annotations

import pytest

from jobs.models import Job, Schedule
from tests.commands.terminal import Ran, manage

pytestmark = pytest.mark.django_db


def schedules(*arguments: str) -> Ran:
    return manage("schedules", *arguments)


def set_beat(*arguments: str) -> Ran:
    return schedules("set", "beat", "--type", "echo", *(arguments or ("--every", "5")))


def test_set_creates_changes_and_repeats_without_a_change() -> None:
    assert "created" in set_beat().out
    assert "as wanted already" in set_beat().out
    assert "changed" in set_beat("--cron", "@daily", "--tz", "Europe/Berlin").out
    schedule = Schedule.objects.get()
    assert (schedule.cron, schedule.every_s, schedule.time_zone, schedule.version) == (
        "@daily",
        None,
        "Europe/Berlin",
        2,
    )


def test_set_takes_every_option() -> None:
    ran = set_beat(
        "--cron", "*/5 * * * *", "--tz", "Asia/Kolkata", "--payload", '{"value": 1}', "--queue", "low",
        "--catch-up", "all", "--overlap", "skip", "--jitter", "3", "--window", "60", "--max", "7",
        "--start", "2030-01-01T00:00Z", "--end", "2031-01-01T00:00Z", "--pause-after", "3", "--json",
    )  # fmt: skip
    assert ran.code == 0
    document = ran.json
    assert len(document.pop("nextSlots")) == 5
    assert document.pop("pointer").endswith("Z")
    assert document == {
        "name": "beat", "type": "echo", "payload": {"value": 1}, "queue": "low", "cron": "*/5 * * * *",
        "everySeconds": None, "timeZone": "Asia/Kolkata", "enabled": True, "catchUp": "all",
        "catchUpWindowSeconds": 60, "catchUpMax": 7, "overlap": "skip", "jitterSeconds": 3,
        "words": "Every 5 minutes (Asia/Kolkata)", "startsAt": "2030-01-01T00:00:00.000Z",
        "endsAt": "2031-01-01T00:00:00.000Z", "pauseAfterFailures": 3, "pausedBecause": None,
        "declared": False, "overridden": False, "lastJobId": None, "lastNote": None,
    }  # fmt: skip


def test_what_is_not_given_keeps_its_value() -> None:
    set_beat("--every", "5", "--overlap", "skip", "--payload", '{"value": 1}')
    set_beat("--every", "6")
    schedule = Schedule.objects.get()
    assert (schedule.overlap, schedule.payload, schedule.every_s) == ("skip", {"value": 1}, 6)


@pytest.mark.parametrize(
    "arguments",
    [
        ["set", "beat", "--type", "nobody", "--every", "5"],
        ["set", "two words", "--type", "echo", "--every", "5"],
        ["set", "beat", "--type", "echo", "--every", "0"],
        ["set", "beat", "--type", "echo", "--cron", "* * *"],
        ["set", "beat", "--type", "echo", "--cron", "* * * * *", "--tz", "Mars"],
        ["set", "beat", "--type", "echo", "--every", "5", "--payload", '{"x": 1}'],
        ["set", "beat", "--type", "echo", "--every", "5", "--payload", "{"],
        ["pause", "nobody"],
        ["resume", "nobody"],
        ["run", "nobody"],
        ["remove", "nobody"],
        ["next", "* * *"],
        ["next", "* * * * *", "--tz", "Mars"],
        ["next", "* * * * *", "--from", "soon"],
        ["next", "* * * * *", "--from", "9999-12-31T23:59:00Z"],
        ["next", "* * * * *", "--count=-1"],
    ],
)
def test_what_makes_no_sense_ends_with_2_and_stores_nothing(arguments: list[str]) -> None:
    ran = schedules(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.error
    assert not Schedule.objects.exists()


def test_pause_resume_run_and_remove() -> None:
    set_beat()
    assert "paused" in schedules("pause", "beat").out
    assert "paused" in schedules("list").out
    assert "resumed" in schedules("resume", "beat").out
    run = schedules("run", "beat", "--json")
    assert run.json["id"] == str(Job.objects.get().id)
    assert schedules("remove", "beat").code == 0
    assert schedules("list", "--json").json == {"items": []}


def test_list_shows_each_schedule_with_its_next_slots() -> None:
    set_beat()
    (item,) = schedules("list", "--json").json["items"]
    assert item["name"] == "beat"
    assert len(item["nextSlots"]) == 5


def test_next_prints_utc_instants_after_from_and_stores_nothing() -> None:
    ran = schedules(
        "next", "30 2 * * *", "--tz", "America/New_York", "--from", "2026-03-08T00:00:00Z", "--count", "2", "--json"
    )
    assert ran.json == {"slots": ["2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"]}
    after = schedules("next", "0 * * * *", "--from", "2026-01-01T00:00:00", "--count", "1").out
    assert after.strip() == "2026-01-01T01:00:00Z"
    assert not Schedule.objects.exists()


def test_a_range_is_back_filled_once_and_shown_before() -> None:
    set_beat("--cron", "0 * * * *")
    arguments = ("backfill", "beat", "--from", "2026-01-01T00:00Z", "--to", "2026-01-01T03:00Z")
    shown = schedules(*arguments, "--dry-run")
    assert "4 jobs would be created, 0 exist already" in shown.out
    assert not Job.objects.exists()
    assert schedules(*arguments, "--json").json["slots"][0] == "2026-01-01T00:00:00Z"
    assert schedules(*arguments, "--json").json["slots"] == []
    assert Job.objects.count() == 4
    assert schedules("backfill", "nobody", *arguments[2:], "--dry-run").code == 2
    future = schedules("backfill", "beat", "--from", "2026-01-01T00:00Z", "--to", "2126-01-01T00:00Z")
    assert (future.code, "future" in future.error) == (2, True)


def test_a_schedule_that_no_code_declares_has_nothing_to_go_back_to() -> None:
    set_beat()
    assert schedules("revert", "beat").code == 2
