"""Carry plans out: what depends on jobs, the submit, and what is recorded of it. Inside the tick's transaction."""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson

from jobs import failpoints, queue, transitions
from jobs.cron import slot_text
from jobs.database import connection, on_commit
from jobs.envelope import JobRequest
from jobs.errors import JobsError, KeyReused
from jobs.lifecycle import FINAL, Actor, Status
from jobs.models import DroppedSlots, Job, Schedule
from jobs.schedules.due import Due
from jobs.schedules.policies import Because, Drop, Plan, failures_in_a_row, superseded
from jobs.schedules.slots import request_of_slot
from jobs.sql import as_table, db_id, db_time, table
from jobs.submission import submit_many

log = logging.getLogger("jobs.schedules")

RECENT = 20
"""Slots of which a schedule remembers job and delay: for its picture, and to count failures in a row."""

LINES = 20
"""Jobs of one commit that are logged by name; of more only their number is."""

_COLUMNS = (
    "vid bigint", "vpointer timestamptz", "vdue timestamptz", "vbuffered timestamptz", "vjob uuid", "vrecent jsonb",
    "vnote text", "venabled boolean", "vbecause text", "vraise int",
)  # fmt: skip

Overlap = Schedule.Overlap


@dataclass(slots=True)
class Turn:
    """What becomes of one schedule in this tick."""

    plan: Plan
    schedule: Due
    slots: list[dt.datetime]
    drops: list[Drop]
    buffered: dt.datetime | None
    remarks: list[str] = field(default_factory=list)
    paused_because: str = ""
    created: list[tuple[dt.datetime, uuid.UUID]] = field(default_factory=list)


def carry_out(plans: Sequence[Plan], now: dt.datetime) -> list[uuid.UUID]:
    """Ids of the jobs created. The schedules' rows are locked by the caller."""
    statuses = _statuses(plans)
    turns = [_turn(plan, statuses) for plan in plans]
    _cancel([turn for turn in turns if turn.slots and _is_open(turn, statuses)])
    failpoints.hit("tick.before_insert")
    _submit(turns)
    failpoints.hit("tick.after_insert")
    _record(turns, now)
    _tell(turns)
    return [job_id for turn in turns for _, job_id in turn.created]


def _statuses(plans: Sequence[Plan]) -> dict[str, str]:
    """By job id, of all jobs that a decision asks for; one that was pruned is missing."""
    wanted: set[uuid.UUID] = set()
    for schedule in (plan.schedule for plan in plans):
        if schedule.overlap != Overlap.ALLOW and schedule.last_job_id is not None:
            wanted.add(schedule.last_job_id)
        if schedule.pause_after_failures:
            wanted.update(uuid.UUID(job_id) for _, job_id, _ in schedule.recent)
    if not wanted:
        return {}
    return {str(pk): status for pk, status in Job.objects.filter(pk__in=wanted).values_list("pk", "status")}


def _turn(plan: Plan, statuses: dict[str, str]) -> Turn:
    """The slots that may have a job now: after failures in a row none, else by the overlap policy."""
    schedule = plan.schedule
    turn = Turn(plan, schedule, list(plan.chosen), list(plan.drops), schedule.buffered_slot)
    most = schedule.pause_after_failures
    if turn.slots and most and failures_in_a_row(schedule, statuses) >= most:
        turn.paused_because = f"{most} of its jobs have failed in a row"
        turn.drops.append(_drop(Because.PAUSED, turn.slots, f"paused: {turn.paused_because}"))
        turn.slots, turn.buffered = [], None
    elif schedule.overlap == Overlap.BUFFER:
        _buffer(turn, statuses)
    elif schedule.overlap != Overlap.ALLOW and turn.slots:
        _skip_or_cancel(turn, statuses)
    return turn


def _skip_or_cancel(turn: Turn, statuses: dict[str, str]) -> None:
    schedule, newest = turn.schedule, turn.slots[-1]
    if turn.slots[:-1]:
        turn.drops.append(superseded(turn.slots[:-1], newest))
    turn.slots = [newest]
    if not _is_open(turn, statuses):
        return
    words = _words(statuses[str(schedule.last_job_id)])
    if schedule.overlap == Overlap.SKIP:
        detail = f"skipped, because job {schedule.last_job_id} is still {words}"
        turn.drops.append(_drop(Because.OVERLAP, turn.slots, detail))
        turn.slots = []
    else:
        turn.remarks.append(f"job {schedule.last_job_id} was {words} and is cancelled")


def _buffer(turn: Turn, statuses: dict[str, str]) -> None:
    """One slot waits for the end of the latest job: the earliest. The others that come meanwhile are dropped."""
    waiting = [*([turn.buffered] if turn.buffered else []), *turn.slots]
    if not _is_open(turn, statuses):
        turn.slots, waiting = waiting[:1], waiting[1:]
    else:
        turn.slots = []
    turn.buffered = waiting[0] if waiting else None
    if waiting[1:]:
        detail = f"{slot_text(waiting[0])} is waiting for the latest job already"
        turn.drops.append(_drop(Because.OVERLAP, waiting[1:], detail))


def _is_open(turn: Turn, statuses: dict[str, str]) -> bool:
    """Whether the schedule's latest job is not over; asked only where a policy cares. A pruned job is over."""
    status = statuses.get(str(turn.schedule.last_job_id))
    return turn.schedule.overlap != Overlap.ALLOW and status is not None and status not in FINAL


def _drop(because: Because, slots: Sequence[dt.datetime], detail: str) -> Drop:
    return Drop(because, slots[0], slots[-1], len(slots), detail)


def _words(status: str) -> str:
    return Status(status).value.replace("_", " ")


def _cancel(turns: Sequence[Turn]) -> None:
    """Cancel the latest jobs or, while an attempt runs, ask it to stop."""
    for turn in turns:
        job_id = turn.schedule.last_job_id
        if job_id is None or turn.schedule.overlap != Overlap.CANCEL:
            continue
        who = f"schedule {turn.schedule.name}"
        rows = transitions.cancel([job_id], actor=Actor.SCHEDULER, who=who)
        rows = rows or transitions.request_cancel([job_id], actor=Actor.SCHEDULER, who=who)
        on_commit(queue.push, rows)


def _submit(turns: Sequence[Turn]) -> None:
    """All slots of all schedules through the one door. A key that exists counts as done."""
    requests: list[JobRequest] = []
    places: list[tuple[Turn, dt.datetime]] = []
    for turn in turns:
        for slot in turn.slots:
            try:
                requests.append(request_of_slot(turn.schedule, slot))
                places.append((turn, slot))
            except JobsError as error:
                turn.drops.append(_refused(slot, error))
    if not requests:
        return
    for (turn, slot), outcome in zip(places, submit_many(requests), strict=True):
        if not isinstance(outcome, JobsError):
            if outcome.is_new:
                turn.created.append((slot, outcome.id))
        elif not isinstance(outcome, KeyReused):
            turn.drops.append(_refused(slot, outcome))


def _refused(slot: dt.datetime, error: JobsError) -> Drop:
    return _drop(Because.REFUSED, [slot], f"{slot_text(slot)} was refused: {error}")


def _record(turns: Sequence[Turn], now: dt.datetime) -> None:
    """Move the pointers and write down what came of the slots: one UPDATE for all schedules, one INSERT for all drops."""
    if not turns:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE jobs_schedule SET pointer = vpointer, due_at = vdue,"
            " buffered_slot = vbuffered, last_job_id = vjob, recent = vrecent, last_note = COALESCE(vnote, last_note),"
            " enabled = venabled, paused_because = vbecause, version = version + vraise"
            f" FROM ({table(*_COLUMNS)}) AS v WHERE id = vid",
            [as_table([_columns(turn, now) for turn in turns])],
        )
    DroppedSlots.objects.bulk_create(
        DroppedSlots(
            schedule_id=turn.schedule.pk, first=drop.first, last=drop.last, count=drop.count,
            because=drop.because, detail=drop.detail,
        )
        for turn in turns for drop in turn.drops
    )  # fmt: skip


def _tell(turns: Sequence[Turn]) -> None:
    created = [(turn.schedule, job_id) for turn in turns for _, job_id in turn.created]
    if len(created) > LINES:
        log.info("%d schedules created %d jobs", len(turns), len(created))
        return
    for schedule, job_id in created:
        log.info("schedule %s created job %s (%s)", schedule.name, job_id, schedule.type)


def _columns(turn: Turn, now: dt.datetime) -> tuple[Any, ...]:
    schedule, plan = turn.schedule, turn.plan
    latest = [[slot_text(slot), str(job_id), _late_s(slot, now)] for slot, job_id in turn.created]
    last_job_id = turn.created[-1][1] if turn.created else schedule.last_job_id
    note = None
    if turn.drops or turn.remarks:
        said = "; ".join([*(drop.detail for drop in turn.drops), *turn.remarks])
        log.warning("schedule %s: %s", schedule.name, said)
        note = f"{slot_text(plan.pointer)}: {said}"
    is_paused = bool(turn.paused_because)
    return (
        schedule.pk,
        _time(plan.pointer),
        _time(turn.buffered or plan.due_at),  # with a slot that waits: each second, for the job that it waits for
        _time(turn.buffered),
        None if last_job_id is None else db_id(last_job_id),
        orjson.dumps([*schedule.recent, *latest][-RECENT:]).decode() if latest else schedule.recent_text,
        note,
        not is_paused,
        turn.paused_because or schedule.paused_because,
        int(is_paused),
    )  # fmt: skip


_time = lru_cache(maxsize=1024)(db_time)
"""Schedules of one tick share their times."""


def _late_s(slot: dt.datetime, now: dt.datetime) -> float:
    return round((now - slot).total_seconds(), 3)
