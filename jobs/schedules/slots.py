"""The slots of a schedule's row, and the request that each of them stands for."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import Any

from jobs import cron, envelope
from jobs.conf import conf
from jobs.cron import FOREVER, slot_text
from jobs.documents import isotime
from jobs.envelope import JobRequest
from jobs.models import Job, Schedule, clock
from jobs.models.documents import read_document
from jobs.schedules.due import Due

CLIENT = "system:schedule"


@dataclass(frozen=True)
class Times:
    """What of a schedule says when it is due; equal for all schedules that are due at the same instants."""

    cron: str
    time_zone: str
    every_s: int
    anchor: dt.datetime | None
    starts_at: dt.datetime | None
    ends_at: dt.datetime | None

    @classmethod
    def of(cls, schedule: Schedule | Due) -> Times:
        anchor = None if schedule.cron else schedule.anchor
        every_s = schedule.every_s or 0
        return cls(schedule.cron, schedule.time_zone, every_s, anchor, schedule.starts_at, schedule.ends_at)

    def slots(self, after: dt.datetime, until: dt.datetime = FOREVER) -> Iterator[dt.datetime]:
        """The instants in (after, until] between start and end, in order. Raises cron.BadCron."""
        if self.starts_at is not None and self.starts_at > after:
            after = self.starts_at - dt.timedelta(microseconds=1)
        if self.ends_at is not None:
            until = min(until, self.ends_at)
        if self.anchor is None:
            return cron.slots(self.cron, self.time_zone, after, until)
        return cron.interval_slots(self.anchor, self.every_s, after, until)

    def skippable(
        self, start: dt.datetime, now: dt.datetime, *, keep: int
    ) -> tuple[dt.datetime, int, dt.datetime] | None:
        """Of an interval's slots in (start, now] those before the last `keep`: the first, how many, and the last of
        them. A second's interval has a million in two weeks, too many to walk through. None: nothing to skip."""
        first = None if self.anchor is None else next(self.slots(start, now), None)
        if first is None:
            return None
        until = now if self.ends_at is None else min(now, self.ends_at)
        count = (until - first) // dt.timedelta(seconds=self.every_s) + 1 - keep
        if count <= 0:
            return None
        return first, count, first + (count - 1) * dt.timedelta(seconds=self.every_s)


def slots_of(schedule: Schedule | Due, after: dt.datetime, until: dt.datetime = FOREVER) -> Iterator[dt.datetime]:
    """The schedule's instants in (after, until], in order. Raises cron.BadCron."""
    return Times.of(schedule).slots(after, until)


def upcoming(schedule: Schedule, count: int, after: dt.datetime | None = None) -> list[dt.datetime]:
    """The next `count` slots after the present, paused or not. Raises cron.BadCron."""
    return list(islice(slots_of(schedule, after or clock.now()), count))


def key_of(schedule: Schedule | Due, slot: dt.datetime) -> str:
    """The idempotency key of a slot's job; it holds the UTC instant, so that no zone is needed to read it."""
    return f"schedule:{schedule.name}:{slot_text(slot)}"


def request_of(schedule: Schedule, key: str) -> JobRequest:
    """The request for one job of the schedule. Raises MalformedRequest or TooLarge."""
    return _request(schedule.type, schedule.payload, schedule.queue).under(key, _who(schedule))


def request_of_slot(schedule: Due, slot: dt.datetime) -> JobRequest:
    """The same for the job of a slot, delayed by the jitter."""
    key, run_at = key_of(schedule, slot), jittered(schedule, slot)
    bounds = conf().payload_max_bytes, conf().json_max_depth
    request = _known_request(schedule.type, schedule.payload_text, schedule.queue, bounds)
    if run_at is None:
        return request.under(key, _who(schedule))
    options = {**request.options, "runAt": isotime(run_at)}
    return replace(request, key=key, who=_who(schedule), options=options, run_at=run_at)


@lru_cache(maxsize=4096)
def _known_request(type_name: str, payload: str, queue: str, bounds: tuple[int, int]) -> JobRequest:
    """What a schedule asks for is checked once, not each time that it is due, as long as the bounds are the same."""
    return _request(type_name, read_document(payload), queue)


def _request(type_name: str, payload: Any, queue: str) -> JobRequest:
    body: dict[str, Any] = {"type": type_name, "payload": payload} | ({"queue": queue} if queue else {})
    return envelope.parse(body, client=CLIENT, source=Job.Source.SCHEDULE)


def _who(schedule: Schedule | Due) -> str:
    return f"schedule {schedule.name}"


def jittered(schedule: Schedule | Due, slot: dt.datetime) -> dt.datetime | None:
    """When the slot's job is due; None for at once. The same on every scheduler: drawn from a hash of the slot."""
    if not schedule.jitter_s:
        return None
    digest = hashlib.sha256(key_of(schedule, slot).encode()).digest()
    late_ms = int.from_bytes(digest[:8]) % (schedule.jitter_s * 1000 + 1)
    return slot + dt.timedelta(milliseconds=late_ms)
