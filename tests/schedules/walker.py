"""The rules of slots, word by word, on a walk over every minute; shares no code with `jobs.cron`.

The walk knows a zone's clock as pieces of constant offset, found by asking for it every three hours and
bisecting: of zoneinfo only `utcoffset` of an instant is believed.
"""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Iterator
from zoneinfo import ZoneInfo

MINUTE = dt.timedelta(minutes=1)
STEP = dt.timedelta(hours=3)

MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
WEEKDAYS = {name: number for number, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}

Changes = list[tuple[dt.datetime, dt.timedelta]]
"""From when on (UTC) which offset holds."""


def changes(zone: str, start: dt.datetime, end: dt.datetime) -> Changes:
    found = [(start, _offset(zone, start))]
    at = start
    while at < end:
        following = at + STEP
        if _offset(zone, following) != found[-1][1]:
            low, high = at, following
            while high - low > dt.timedelta(seconds=1):
                middle = (low + (high - low) / 2).replace(microsecond=0)
                low, high = (middle, high) if _offset(zone, middle) == found[-1][1] else (low, middle)
            found.append((high, _offset(zone, high)))
        at = following
    return found


def walk(expression: str, pieces: Changes, after: dt.datetime, until: dt.datetime) -> Iterator[dt.datetime]:
    """The slots in (after, until]. Offsets are whole minutes here, as they have been since 1972."""
    fields = expression.split()
    is_fixed = not fields[0].startswith("*") and not fields[1].startswith("*")
    days = _Days(fields)
    minutes, hours = _values(fields[0], 0, 59, {}), _values(fields[1], 0, 23, {})
    seen_until: dt.datetime | None = None
    latest = after
    for index, (begin, offset) in enumerate(pieces):
        end = pieces[index + 1][0] if index + 1 < len(pieces) else until + MINUTE
        if is_fixed and seen_until is not None:
            shown = (begin + offset).replace(tzinfo=None)
            skipped = seen_until + MINUTE
            while skipped < shown:  # the clocks jumped over these: due at the first instant after the gap
                if skipped.minute in minutes and skipped.hour in hours and days.has(skipped.date()):
                    if latest < begin <= until:
                        latest = begin
                        yield begin
                    break
                skipped += MINUTE
        instant = begin
        while instant < end:
            wall = (instant + offset).replace(tzinfo=None)
            if not days.has(wall.date()):
                instant += dt.timedelta(days=1) - dt.timedelta(hours=wall.hour, minutes=wall.minute)
                continue
            if wall.hour not in hours:
                instant += dt.timedelta(hours=1) - dt.timedelta(minutes=wall.minute)
                continue
            is_new = seen_until is None or wall > seen_until
            if wall.minute in minutes and (is_new or not is_fixed) and latest < instant <= until:
                latest = instant
                yield instant
            instant += MINUTE
        last = (end - MINUTE + offset).replace(tzinfo=None)
        seen_until = last if seen_until is None else max(seen_until, last)


class _Days:
    def __init__(self, fields: list[str]) -> None:
        self._day, self._month, self._weekday = fields[2:]
        self._known: dict[dt.date, bool] = {}

    def has(self, date: dt.date) -> bool:
        if date not in self._known:
            self._known[date] = self._has(date)
        return self._known[date]

    def _has(self, date: dt.date) -> bool:
        if date.month not in _values(self._month, 1, 12, MONTHS):
            return False
        both = [self._is_day(date), self._is_weekday(date)]
        return all(both) if self._day.startswith("*") or self._weekday.startswith("*") else any(both)

    def _is_day(self, date: dt.date) -> bool:
        if self._day == "L":
            return date.day == calendar.monthrange(date.year, date.month)[1]
        return date.day in _values(self._day, 1, 31, {})

    def _is_weekday(self, date: dt.date) -> bool:
        weekday = date.isoweekday() % 7
        if "#" in self._weekday:
            name, _, nth = self._weekday.partition("#")
            return weekday == int(name) and (date.day - 1) // 7 + 1 == int(nth)
        if self._weekday.endswith("L"):
            length = calendar.monthrange(date.year, date.month)[1]
            return weekday == int(self._weekday[:-1]) and date.day > length - 7
        return weekday in {value % 7 for value in _values(self._weekday, 0, 7, WEEKDAYS)}


def _values(field: str, low: int, high: int, names: dict[str, int]) -> set[int]:
    found: set[int] = set()
    for term in field.lower().split(","):
        span, _, step = term.partition("/")
        first, _, last = (f"{low}-{high}" if span == "*" else span).partition("-")
        begin = names.get(first) if first in names else int(first)
        end = begin if not last else names[last] if last in names else int(last)
        assert begin is not None
        assert end is not None
        found.update(range(begin, (high if step and not last else end) + 1, int(step or 1)))
    return found


def _offset(zone: str, instant: dt.datetime) -> dt.timedelta:
    offset = instant.astimezone(ZoneInfo(zone)).utcoffset()
    assert offset is not None
    return offset
