"""Slots of two years in every IANA zone, against the walker. The whole is slow: `pytest -m slow -s`."""

from __future__ import annotations

import datetime as dt
import itertools
import time
from functools import cache
from zoneinfo import available_timezones

import pytest

from jobs import cron
from tests.schedules.walker import Changes, changes, walk
from tests.support.world import World

START = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
END = dt.datetime(2027, 1, 1, tzinfo=dt.UTC)

# Fixed times in the hours in which clocks change; what follows the clock as it is; days by every form.
EXPRESSIONS = [
    "30 2 * * *",
    "0,15,45 0,1,2,3 * * *",
    "59 23 * * *",
    "0 0 * * *",
    "7 * * * *",
    "*/20 1-3 * * *",
    "*/30 0 * * *",
    "15 */2 * * mon-fri",
    "10 4 L * *",
    "10 2 * * 0#2",
    "10 2 * * 0L",
    "5 3 1,15 * sun",
    "45 1 1-31/2 jan,mar,apr,sep-nov 1-5",
    "0-10/5 2 */2 * *",
]

# Midnight changes, half hours, both hemispheres, Ramadan, a day that does not exist, seconds-old rules.
ODD = [
    ("Pacific/Apia", dt.datetime(2011, 6, 1, tzinfo=dt.UTC), dt.datetime(2012, 6, 1, tzinfo=dt.UTC)),
    ("Pacific/Kwajalein", dt.datetime(1993, 6, 1, tzinfo=dt.UTC), dt.datetime(1993, 12, 1, tzinfo=dt.UTC)),
    ("Africa/Casablanca", START, END),
    ("Africa/Cairo", dt.datetime(2010, 1, 1, tzinfo=dt.UTC), dt.datetime(2011, 1, 1, tzinfo=dt.UTC)),
    ("Australia/Lord_Howe", START, END),
    ("Antarctica/Troll", START, END),
    ("Europe/Volgograd", dt.datetime(2018, 6, 1, tzinfo=dt.UTC), dt.datetime(2021, 6, 1, tzinfo=dt.UTC)),
    ("Asia/Pyongyang", dt.datetime(2015, 6, 1, tzinfo=dt.UTC), dt.datetime(2018, 9, 1, tzinfo=dt.UTC)),
    ("America/Caracas", dt.datetime(2016, 1, 1, tzinfo=dt.UTC), dt.datetime(2016, 9, 1, tzinfo=dt.UTC)),
    ("Asia/Gaza", START, END),
]


@cache
def patterns() -> dict[tuple[tuple[dt.datetime, dt.timedelta], ...], list[str]]:
    """Zones by what their clocks do in the two years: one of each stands for all of its pattern."""
    found: dict[tuple[tuple[dt.datetime, dt.timedelta], ...], list[str]] = {}
    for zone in sorted(available_timezones() - {"localtime", "Factory"}):
        found.setdefault(tuple(changes(zone, START, END)), []).append(zone)
    return found


def compare(expression: str, zone: str, pieces: Changes, start: dt.datetime, end: dt.datetime) -> int:
    ours = list(cron.slots(expression, zone, start, end))
    assert ours == list(walk(expression, pieces, start, end)), (expression, zone)
    return len(ours)


AROUND = dt.timedelta(days=3)


@pytest.mark.parametrize(("zone", "start", "end"), ODD)
def test_the_odd_clocks_agree_with_the_walk(zone: str, start: dt.datetime, end: dt.datetime) -> None:
    """A few days around each change; the slow test walks whole years."""
    found = changes(zone, start, end)[1:]
    assert found
    for change, _ in found:
        compare_around(zone, change)


def test_every_kind_of_change_of_two_years_agrees_with_the_walk() -> None:
    """A kind is how far the clocks go at which time of their day; one zone stands for each."""
    kinds: dict[tuple[dt.timedelta, dt.time], tuple[str, dt.datetime]] = {}
    for pieces, zones in patterns().items():
        for (_, before), (change, after) in itertools.pairwise(pieces):
            kinds.setdefault((after - before, (change + before).time()), (zones[0], change))
    assert len(kinds) > 10
    for zone, change in kinds.values():
        compare_around(zone, change)


def compare_around(zone: str, change: dt.datetime) -> None:
    start, end = change - AROUND, change + AROUND
    pieces = changes(zone, start, end)
    for expression in EXPRESSIONS:
        compare(expression, zone, pieces, start, end)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_years_of_every_zone_agree_with_the_walk(world: World) -> None:
    """The first zone of each pattern of changes by all expressions, every other one by two of them in turn."""
    began, slots, zones = time.perf_counter(), 0, 0
    for pieces, names in patterns().items():
        wanted = {expression: list(walk(expression, list(pieces), START, END)) for expression in EXPRESSIONS}
        for number, zone in enumerate(names):
            first = 2 * number % len(EXPRESSIONS)
            for expression in EXPRESSIONS if number == 0 else EXPRESSIONS[first : first + 2]:
                assert list(cron.slots(expression, zone, START, END)) == wanted[expression], (expression, zone)
                slots += len(wanted[expression])
        zones += len(names)
    took_s = time.perf_counter() - began
    world.note(f"{zones} zones in {len(patterns())} patterns, {slots:,} slots of two years: {took_s:.0f} s")
