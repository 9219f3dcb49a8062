"""Schedules: list, one with what its policies dropped, run now, pause, resume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from jobs import schedules
from jobs.addresses import add_links
from jobs.api.access import identity_of
from jobs.api.base import ApiView
from jobs.api.components import TEXT
from jobs.api.mounts import base_of
from jobs.api.openapi import Answer, in_path, operation
from jobs.cron import BadCron
from jobs.documents import isotime
from jobs.errors import ScheduleNotFound
from jobs.models import DroppedSlots, Schedule
from jobs.schedules.editing import NAME as SCHEDULE_NAME

NEXT_SLOTS = 5
DROPS_SHOWN = 20

SCHEDULE = Answer("The schedule.", "Schedule")
NAME = in_path("name", TEXT, "The schedule's name.")


class Schedules(ApiView):
    """The schedules, with the next slots of those that are enabled."""

    scopes: ClassVar = {"GET": "schedules:manage"}

    @operation("listSchedules", "Schedules", {200: Answer("All schedules, by name.", "Schedules")})
    def get(self, request: Request) -> Response:
        return Response({"items": [document(schedule) for schedule in Schedule.objects.order_by("name")]})


class OneSchedule(ApiView):
    """One schedule, with its latest slots and the latest that a policy dropped."""

    scopes: ClassVar = {"GET": "schedules:manage"}

    @operation(
        "getSchedule",
        "One schedule",
        {200: Answer("The schedule.", "ScheduleDetail")},
        problems=(404,),
        parameters=[NAME],
    )
    def get(self, request: Request, name: str) -> Response:
        schedule = _find(name)
        return Response(
            {
                **document(schedule),
                "recent": [
                    {"slot": slot, "jobId": job_id, "lateSeconds": late_s} for slot, job_id, late_s in schedule.recent
                ],
                "dropped": [_drop(drop) for drop in schedule.dropped.all()[:DROPS_SHOWN]],
            }
        )


class RunSchedule(ApiView):
    """Create a job of the schedule at once, whatever its policies say, paused or not."""

    scopes: ClassVar = {"POST": "schedules:manage"}

    @operation(
        "runSchedule",
        "Run a schedule now",
        {202: Answer("The new job.", "JobStatus", {"Location": "Of its status."})},
        problems=(404, 422),
        parameters=[NAME],
    )
    def post(self, request: Request, name: str) -> Response:
        submitted = schedules.run_now(name, who=identity_of(request).who)
        document = add_links({**submitted.document}, base_of(request._request))
        return Response(document, status=202, headers={"Location": document["links"]["status"]})


class _Turn(ApiView):
    scopes: ClassVar = {"POST": "schedules:manage"}

    def turn(self, request: Request, name: str, verb: Callable[..., bool]) -> Response:
        verb(name, who=identity_of(request).who)
        return Response(document(_find(name)))


class PauseSchedule(_Turn):
    """Create no more jobs until it is resumed."""

    @operation("pauseSchedule", "Pause a schedule", {200: SCHEDULE}, problems=(404,), parameters=[NAME])
    def post(self, request: Request, name: str) -> Response:
        return self.turn(request, name, schedules.pause)


class ResumeSchedule(_Turn):
    """Go on from the present: slots of the pause are not made up for."""

    @operation("resumeSchedule", "Resume a schedule", {200: SCHEDULE}, problems=(404,), parameters=[NAME])
    def post(self, request: Request, name: str) -> Response:
        return self.turn(request, name, schedules.resume)


def _find(name: str) -> Schedule:
    schedule = Schedule.objects.filter(name=name).first() if SCHEDULE_NAME.fullmatch(name) else None
    if schedule is None:
        raise ScheduleNotFound
    return schedule


def document(schedule: Schedule) -> dict[str, Any]:
    try:
        slots = schedules.upcoming(schedule, NEXT_SLOTS) if schedule.enabled else []
    except BadCron:  # written into the database by somebody else
        slots = []
    return {
        "name": schedule.name,
        "type": schedule.type,
        "payload": schedule.payload,
        "queue": schedule.queue or None,
        "cron": schedule.cron or None,
        "everySeconds": schedule.every_s,
        "timeZone": schedule.time_zone,
        "words": schedules.in_words(schedule),
        "startsAt": isotime(schedule.starts_at),
        "endsAt": isotime(schedule.ends_at),
        "enabled": schedule.enabled,
        "pausedBecause": schedule.paused_because or None,
        "catchUp": schedule.catch_up,
        "catchUpWindowSeconds": schedule.catch_up_window_s,
        "catchUpMax": schedule.catch_up_max,
        "overlap": schedule.overlap,
        "jitterSeconds": schedule.jitter_s,
        "pauseAfterFailures": schedule.pause_after_failures,
        "declared": schedule.is_declared,
        "overridden": schedule.is_overridden,
        "lastSlot": isotime(schedule.pointer),
        "bufferedSlot": isotime(schedule.buffered_slot),
        "lastJobId": schedule.last_job_id and str(schedule.last_job_id),
        "note": schedule.last_note,
        "nextSlots": [isotime(slot) for slot in slots],
    }


def _drop(drop: DroppedSlots) -> dict[str, Any]:
    return {
        "first": isotime(drop.first),
        "last": isotime(drop.last),
        "count": drop.count,
        "because": drop.because,
        "detail": drop.detail,
        "at": isotime(drop.at),
    }
