"""Slots: the due instants of a cron expression or an interval. Pure: no I/O, no Django.

Wall-clock times come from cronsim, which is asked without a time zone; turning them into instants is
done here, by Debian cron's rules:

- A fixed time (neither minutes nor hours begin with `*`) happens once a day. One that the clocks skip
  is due at the first instant after the gap; one that they repeat is due at its first.
- Otherwise the expression matches the wall clock as it is: skipped times do not happen, repeated ones
  happen twice.

cronsim's own handling of zones is not used: it goes back in time when it is started inside a repeated
hour, and fires in hours that a change at midnight skipped.
"""

from __future__ import annotations

import datetime as dt
import heapq
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

FOREVER = dt.datetime.max.replace(tzinfo=dt.UTC)
_DAY = dt.timedelta(days=1)


class BadCron(ValueError):
    """A cron expression, an interval or a time zone that is none; the message says what is wrong."""


def slots(cron: str, time_zone: str, after: dt.datetime, until: dt.datetime = FOREVER) -> Iterator[dt.datetime]:
    """The instants in (after, until], in order, aware UTC. Raises BadCron at once, not when iterated."""
    expression, zone = parse(cron), zone_of(time_zone)
    return _slots(expression, zone, after.astimezone(dt.UTC), until.astimezone(dt.UTC))


def interval_slots(
    anchor: dt.datetime, every_s: int, after: dt.datetime, until: dt.datetime = FOREVER
) -> Iterator[dt.datetime]:
    """The instants `anchor + n * every_s` in (after, until], n any integer, in order, aware UTC.

    Slots are whole seconds: the anchor's fraction is dropped, so that a slot reads the same everywhere.
    """
    if every_s < 1:
        raise BadCron("an interval is at least one second")
    step = dt.timedelta(seconds=every_s)
    anchor = anchor.astimezone(dt.UTC).replace(microsecond=0)
    first = anchor + ((after - anchor) // step + 1) * step
    return _every(first, step, until)


def next_slots(cron: str, time_zone: str, after: dt.datetime, count: int) -> list[dt.datetime]:
    """The first `count` instants after `after`; fewer when the expression has no more."""
    return list(islice(slots(cron, time_zone, after), count))


@lru_cache(maxsize=4096)
def parse(cron: str) -> str:
    """The expression with its alias resolved. Raises BadCron unless it has five fields that hold sense."""
    expression = " ".join(cron.split())
    if expression.startswith("@"):
        try:
            return ALIASES[expression.lower()]
        except KeyError:
            raise BadCron(f"{cron!r} is no alias; there are {', '.join(ALIASES)}") from None
    count = len(expression.split())
    if count != 5:
        raise BadCron(
            f"{cron!r} has {count} fields; a cron expression has five: minute, hour, day of month, month, weekday"
        )
    try:
        CronSim(expression, dt.datetime(2000, 1, 1))  # noqa: DTZ001 - wall-clock time, on purpose
    except CronSimError as error:
        raise BadCron(f"{cron!r} is no cron expression: {_field(str(error))}") from None
    return expression


@lru_cache(maxsize=512)
def zone_of(name: str) -> ZoneInfo:
    """The IANA time zone of that name. Raises BadCron."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; a path that leads elsewhere; a folder
        raise BadCron(f"there is no time zone {name!r}; use an IANA name such as 'Europe/Berlin' or 'UTC'") from None


@lru_cache(maxsize=1024)
def slot_text(slot: dt.datetime) -> str:
    """RFC 3339, UTC, whole seconds: how a slot stands in a job's idempotency key."""
    return slot.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _slots(expression: str, zone: ZoneInfo, after: dt.datetime, until: dt.datetime) -> Iterator[dt.datetime]:
    minutes, hours = expression.split()[:2]
    instants = _fixed if not minutes.startswith("*") and not hours.startswith("*") else _as_it_is
    found: list[dt.datetime] = []
    last = after
    for wall in CronSim(expression, _earliest_wall(after, zone)):
        try:
            earliest = _first_instant(wall, zone)
            candidates = instants(wall, zone)
        except OverflowError:  # the end of the calendar
            break
        while found and found[0] <= earliest:  # no later wall time can come before these any more
            slot = heapq.heappop(found)
            if last < slot <= until:
                last = slot
                yield slot
        if earliest > until:
            return
        for candidate in candidates:
            heapq.heappush(found, candidate)
    for slot in sorted(found):
        if last < slot <= until:
            last = slot
            yield slot


def _earliest_wall(after: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """A wall-clock time from which on all slots after `after` lie, even if the clocks go back meanwhile."""
    local = after.astimezone(zone)
    later = (after + _DAY).astimezone(zone)
    back = max(dt.timedelta(0), (local.utcoffset() or dt.timedelta(0)) - (later.utcoffset() or dt.timedelta(0)))
    return local.replace(tzinfo=None) - back


def _fixed(wall: dt.datetime, zone: ZoneInfo) -> list[dt.datetime]:
    return [_first_instant(wall, zone)]


def _as_it_is(wall: dt.datetime, zone: ZoneInfo) -> list[dt.datetime]:
    """The instants at which the clocks show `wall`: none in a gap, two where they repeat it."""
    both = {wall.replace(tzinfo=zone, fold=fold).astimezone(dt.UTC) for fold in (0, 1)}
    return [instant for instant in both if instant.astimezone(zone).replace(tzinfo=None, fold=0) == wall]


def _first_instant(wall: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """When the clocks first show `wall` or, where they skip it, the first instant after the gap."""
    instant = wall.replace(tzinfo=zone, fold=0).astimezone(dt.UTC)
    if instant.astimezone(zone).replace(tzinfo=None, fold=0) == wall:
        return instant
    # In a gap, fold 0 reads `wall` with the offset from before it and fold 1 with the one from after,
    # so that the change lies between the two readings. Bisect for it: zoneinfo does not tell.
    low = wall.replace(tzinfo=zone, fold=1).astimezone(dt.UTC)
    high = instant
    before = low.astimezone(zone).utcoffset()
    while high - low > dt.timedelta(seconds=1):
        middle = (low + (high - low) / 2).replace(microsecond=0)
        if middle.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high


def _every(slot: dt.datetime, step: dt.timedelta, until: dt.datetime) -> Iterator[dt.datetime]:
    while slot <= until:
        yield slot
        try:
            slot += step
        except OverflowError:
            return


def _field(message: str) -> str:
    """cronsim's message ("Bad day-of-month"), in words."""
    return message.replace("Bad ", "the field ").replace("-", " ") + " makes no sense"
