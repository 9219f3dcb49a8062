"""Slots against a walker that looks at every minute, and the examples that people ask about."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import cron
from jobs.cron import BadCron

MINUTE = dt.timedelta(minutes=1)

# Zones with changes at 1, 2 and 3 o'clock, at midnight, of half an hour, in both hemispheres, and one
# that skipped a whole day (Apia, 30 December 2011).
CHANGES = [
    ("America/New_York", "2026-03-07T12:00Z", "2026-03-09T12:00Z"),
    ("America/New_York", "2026-10-31T12:00Z", "2026-11-02T12:00Z"),
    ("Europe/Berlin", "2026-03-28T12:00Z", "2026-03-30T12:00Z"),
    ("Europe/Berlin", "2026-10-24T12:00Z", "2026-10-26T12:00Z"),
    ("Europe/London", "2026-10-24T12:00Z", "2026-10-26T12:00Z"),
    ("Australia/Lord_Howe", "2026-04-03T12:00Z", "2026-04-05T12:00Z"),
    ("Australia/Lord_Howe", "2026-10-02T12:00Z", "2026-10-04T12:00Z"),
    ("America/Havana", "2026-03-07T12:00Z", "2026-03-09T12:00Z"),
    ("America/Havana", "2026-10-31T12:00Z", "2026-11-02T12:00Z"),
    ("Africa/Cairo", "2026-04-23T12:00Z", "2026-04-25T12:00Z"),
    ("Asia/Beirut", "2026-10-24T12:00Z", "2026-10-26T12:00Z"),
    ("Pacific/Apia", "2011-12-29T00:00Z", "2012-01-01T12:00Z"),
    ("UTC", "2026-02-27T12:00Z", "2026-03-02T12:00Z"),
]

EXPRESSIONS = [
    "30 2 * * *",
    "30 1 * * *",
    "0,15,45 0,1,2,3 * * *",
    "*/20 * * * *",
    "7 * * * *",
    "*/30 0 * * *",
    "*/10 2 * * *",
    "15 */2 * * *",
    "0 0 * * 0",
    "59 23 1-31/2 * 1-5",
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.parametrize(("zone", "start", "end"), CHANGES)
def test_slots_are_what_a_walk_over_every_minute_finds(zone: str, start: str, end: str, expression: str) -> None:
    after, until = _time(start), _time(end)
    assert list(cron.slots(expression, zone, after, until)) == list(_walk(expression, zone, after, until))


@given(
    change=st.sampled_from(CHANGES),
    expression=st.sampled_from(EXPRESSIONS),
    offset_s=st.integers(0, 2 * 86_400),
)
@settings(max_examples=150, deadline=None)
def test_slots_do_not_depend_on_where_one_starts(change: tuple[str, str, str], expression: str, offset_s: int) -> None:
    zone, start, end = change
    after, until = _time(start), _time(end)
    later = after + dt.timedelta(seconds=offset_s)
    whole = list(cron.slots(expression, zone, after, until))
    assert list(cron.slots(expression, zone, later, until)) == [slot for slot in whole if slot > later]


def test_a_skipped_time_is_due_at_the_first_instant_after_the_gap() -> None:
    assert _next("30 2 * * *", "America/New_York", "2026-03-08T00:00Z", 2) == [
        "2026-03-08T07:00:00Z",
        "2026-03-09T06:30:00Z",
    ]


def test_a_repeated_time_is_due_once_at_its_first() -> None:
    assert _next("30 1 * * *", "America/New_York", "2026-11-01T00:00Z", 2) == [
        "2026-11-01T05:30:00Z",
        "2026-11-02T06:30:00Z",
    ]


def test_a_wildcard_hour_follows_the_wall_clock() -> None:
    assert _next("30 * * * *", "America/New_York", "2026-11-01T05:00Z", 3) == [
        "2026-11-01T05:30:00Z",
        "2026-11-01T06:30:00Z",
        "2026-11-01T07:30:00Z",
    ]


def test_after_is_exclusive_and_until_inclusive() -> None:
    at = _time("2026-01-01T00:00Z")
    assert list(cron.slots("* * * * *", "UTC", at, at + MINUTE)) == [at + MINUTE]
    assert list(cron.slots("* * * * *", "UTC", at, at + MINUTE - dt.timedelta(microseconds=1))) == []


def test_last_days_and_nth_weekdays_are_understood() -> None:
    assert _next("0 12 L * *", "UTC", "2026-02-01T00:00Z", 2) == ["2026-02-28T12:00:00Z", "2026-03-31T12:00:00Z"]
    assert _next("0 12 * * 1#2", "UTC", "2026-11-01T00:00Z", 1) == ["2026-11-09T12:00:00Z"]


def test_aliases_mean_their_expressions() -> None:
    assert cron.parse("@Hourly") == "0 * * * *"
    assert _next("@daily", "Asia/Kolkata", "2026-01-01T00:00Z", 1) == ["2026-01-01T18:30:00Z"]


@pytest.mark.parametrize(
    ("expression", "zone", "part"),
    [
        ("* * * *", "UTC", "4 fields"),
        ("0 0 * * * *", "UTC", "6 fields"),
        ("", "UTC", "0 fields"),
        ("61 * * * *", "UTC", "minute"),
        ("* 24 * * *", "UTC", "hour"),
        ("0 0 31 2 *", "UTC", "day of month"),
        ("@reboot", "UTC", "no alias"),
        ("* * * * *", "Mars/Olympus", "no time zone"),
        ("* * * * *", "", "no time zone"),
        ("* * * * *", "../etc/passwd", "no time zone"),
        ("* * * * *", "Europe", "no time zone"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(expression: str, zone: str, part: str) -> None:
    with pytest.raises(BadCron, match=part):
        cron.slots(expression, zone, _time("2026-01-01T00:00Z"))


def test_interval_slots_keep_their_distance_from_the_anchor() -> None:
    anchor = _time("2026-01-01T00:00Z").replace(second=3, microsecond=500_000)
    found = list(cron.interval_slots(anchor, 10, _time("2026-01-01T00:00Z"), _time("2026-01-01T00:01Z")))
    assert [slot.second for slot in found] == [3, 13, 23, 33, 43, 53]
    assert all(slot.microsecond == 0 for slot in found)


def test_interval_slots_exist_before_the_anchor_too() -> None:
    anchor = _time("2026-06-01T00:00Z")
    after = _time("2026-01-01T00:00Z")
    assert next(cron.interval_slots(anchor, 3600, after)) == after + dt.timedelta(hours=1)


def _next(expression: str, zone: str, after: str, count: int) -> list[str]:
    return [cron.slot_text(slot) for slot in cron.next_slots(expression, zone, _time(after), count)]


def _time(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def _walk(expression: str, zone: str, after: dt.datetime, until: dt.datetime) -> Iterator[dt.datetime]:
    """The rules, word by word, for an instant at a time."""
    minutes, hours, *_ = expression.split()
    is_fixed = not minutes.startswith("*") and not hours.startswith("*")
    shown = _wall(after, zone)
    instant = after
    seen: set[dt.datetime] = set()
    while instant < until:
        instant += MINUTE
        wall = _wall(instant, zone)
        if not is_fixed:
            is_due = _matches(expression, wall)
        else:
            passed = [wall]
            while passed[-1] - shown > MINUTE:
                passed.append(passed[-1] - MINUTE)
            is_due = any(_matches(expression, time) and time not in seen for time in passed)
            seen.update(passed)
        if is_due:
            yield instant
        shown = wall


def _wall(instant: dt.datetime, zone: str) -> dt.datetime:
    return instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def _matches(expression: str, wall: dt.datetime) -> bool:
    minute, hour, day, month, weekday = expression.split()
    days = [
        _in(day, wall.day, 1, 31),
        _in(weekday, wall.isoweekday() % 7, 0, 6),
    ]
    is_day = all(days) if day.startswith("*") or weekday.startswith("*") else any(days)
    return is_day and _in(month, wall.month, 1, 12) and _in(hour, wall.hour, 0, 23) and _in(minute, wall.minute, 0, 59)


def _in(field: str, value: int, low: int, high: int) -> bool:
    for term in field.split(","):
        span, _, step = term.partition("/")
        first, _, last = (f"{low}-{high}" if span == "*" else span).partition("-")
        if value in range(int(first), int(last or first) + 1, int(step or 1)):
            return True
    return False
