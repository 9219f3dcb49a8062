"""The shapes of schedules in the API, beside those of `components`."""

from __future__ import annotations

from jobs.api.components import ANYTHING, COUNT, QUEUE, TEXT, TIME, TYPE, UUID, Shape, listing, optional, record, ref

SCHEDULE_MEMBERS: dict[str, Shape] = {
    "name": TEXT,
    "type": TYPE,
    "payload": ANYTHING,
    "queue": optional(QUEUE),
    "cron": optional(TEXT),
    "everySeconds": optional(COUNT),
    "timeZone": TEXT,
    "words": TEXT,
    "startsAt": optional(TIME),
    "endsAt": optional(TIME),
    "enabled": {"type": "boolean"},
    "pausedBecause": optional(TEXT),
    "catchUp": TEXT,
    "catchUpWindowSeconds": COUNT,
    "catchUpMax": COUNT,
    "overlap": TEXT,
    "jitterSeconds": COUNT,
    "pauseAfterFailures": COUNT,
    "declared": {"type": "boolean"},
    "overridden": {"type": "boolean"},
    "lastSlot": optional(TIME),
    "bufferedSlot": optional(TIME),
    "lastJobId": optional(UUID),
    "note": TEXT,
    "nextSlots": listing(TIME),
}

SHAPES: dict[str, Shape] = {
    "Schedule": record(**SCHEDULE_MEMBERS),
    "ScheduleDetail": record(
        **SCHEDULE_MEMBERS,
        recent=listing(record(slot=TIME, jobId=UUID, lateSeconds={"type": "number"})),
        dropped=listing(record(first=TIME, last=TIME, count=optional(COUNT), because=TEXT, detail=TEXT, at=TIME)),
    ),
    "Schedules": record(items=listing(ref("Schedule"))),
}
