"""The tick of a schedule: every due slot is decided about exactly once, whoever ticks and how often.

One transaction: its first statement moves the schedule's pointer by compare-and-set, so that of several
schedulers one goes on and the others find nothing to do; then the policies are applied and the jobs
submitted. What the commit did not take is decided about anew by the next tick.
"""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Sequence
from functools import partial

from django.db import InterfaceError, OperationalError, transaction

from jobs import failpoints, queue, transitions
from jobs.cron import BadCron, slot_text
from jobs.errors import JobsError, KeyReused
from jobs.lifecycle import FINAL, Actor, Status
from jobs.models import Job, Schedule, clock
from jobs.schedules.policies import Due, decide, dropped_note
from jobs.schedules.slots import jittered, key_of, request_of, slots_of
from jobs.submission import submit_many

log = logging.getLogger("jobs.schedules")

GRACE_S = 2.0
"""How much longer than the interval between two ticks a slot may take and still be on time."""

Cursor = tuple[dt.datetime | None, int]


class Ticker:
    """Ticks all due schedules, by one query a turn. It remembers each schedule's next slot, and nothing else."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._next: dict[int, tuple[Cursor, dt.datetime | None]] = {}

    def turn(self) -> int:
        """Tick what is due; the number of jobs created. A schedule that makes no sense does not stop the others."""
        now = clock.now()
        created = 0
        for schedule in Schedule.objects.filter(enabled=True):
            try:
                if self._is_due(schedule, now):
                    created += len(tick(schedule, now, interval_s=self._interval_s))
            except (OperationalError, InterfaceError):
                raise  # the database, not the schedule
            except BadCron as error:
                self._next[schedule.pk] = (_cursor(schedule), None)
                log.error("schedule %s cannot be ticked until it is changed: %s", schedule.name, error)
            except Exception:
                log.exception("schedule %s could not be ticked", schedule.name)
        return created

    def _is_due(self, schedule: Schedule, now: dt.datetime) -> bool:
        if schedule.pointer is None:
            return True
        known = self._next.get(schedule.pk)
        if known is None or known[0] != _cursor(schedule):
            known = (_cursor(schedule), next(slots_of(schedule, schedule.pointer), None))
            self._next[schedule.pk] = known
        return known[1] is not None and known[1] <= now


def tick(schedule: Schedule, now: dt.datetime, *, interval_s: float = 1.0) -> list[uuid.UUID]:
    """Decide about every slot in (pointer, now]; ids of the jobs that this call created.

    A schedule without a pointer starts at `now`: nothing is filled in from before. `interval_s` is the
    time between two ticks. Raises BadCron.
    """
    if schedule.pointer is None:
        _advance(schedule, now)
        return []
    oldest = next(slots_of(schedule, schedule.pointer, now), None)
    if oldest is None:
        return []
    start = max(schedule.pointer, now - dt.timedelta(seconds=schedule.catch_up_window_s + interval_s + GRACE_S))
    due = decide(
        slots_of(schedule, start, now),
        now=now,
        catch_up=schedule.catch_up,
        most=schedule.catch_up_max,
        on_time_s=interval_s + GRACE_S,
    )
    with transaction.atomic():
        if not _advance(schedule, due.last or start):
            return []  # another scheduler has these slots, or the schedule was changed meanwhile
        return _carry_out(schedule, due, is_old_dropped=oldest <= start)


def _advance(schedule: Schedule, pointer: dt.datetime) -> bool:
    """Move the pointer, unless somebody else did or the schedule was changed since it was read."""
    mine = Schedule.objects.filter(pk=schedule.pk, enabled=True, version=schedule.version)
    mine = mine.filter(pointer__isnull=True) if schedule.pointer is None else mine.filter(pointer=schedule.pointer)
    return mine.update(pointer=pointer) == 1


def _carry_out(schedule: Schedule, due: Due, *, is_old_dropped: bool) -> list[uuid.UUID]:
    """Apply the overlap policy, submit, and record what came of it; inside the tick's transaction."""
    notes = [dropped_note(due, schedule.catch_up)]
    if is_old_dropped:
        notes.append(f"slots more than {schedule.catch_up_window_s} s old were dropped (catch-up window)")
    chosen, note = _without_overlap(schedule, due.chosen)
    notes.append(note)
    failpoints.hit("tick.before_insert")
    created, refused = _submit(schedule, chosen)
    failpoints.hit("tick.after_insert")
    notes += refused
    changes: dict[str, object] = {}
    if created:
        changes["last_job_id"] = created[-1]
    if said := "; ".join(note for note in notes if note):
        log.warning("schedule %s: %s", schedule.name, said)
        changes["last_note"] = f"{slot_text(due.last or clock.now())}: {said}"
    if changes:
        Schedule.objects.filter(pk=schedule.pk).update(**changes)
    for job_id in created:
        log.info("schedule %s created job %s (%s)", schedule.name, job_id, schedule.type)
    return created


def _without_overlap(schedule: Schedule, chosen: list[dt.datetime]) -> tuple[list[dt.datetime], str]:
    """The slots that may have a job beside the schedule's latest one, and what there is to note."""
    if schedule.overlap == Schedule.Overlap.ALLOW or not chosen:
        return chosen, ""
    *superseded, newest = chosen
    notes = [f"{len(superseded)} slots before {slot_text(newest)} were superseded"] if superseded else []
    status = _status_of(schedule.last_job_id)
    if status is None or status in FINAL:
        return [newest], "; ".join(notes)
    if schedule.overlap == Schedule.Overlap.SKIP:
        return [], "; ".join([*notes, f"skipped, because job {schedule.last_job_id} is still {_words(status)}"])
    _cancel(schedule)
    return [newest], "; ".join([*notes, f"job {schedule.last_job_id} was {_words(status)} and is cancelled"])


def _status_of(job_id: uuid.UUID | None) -> str | None:
    """None also for a job that was pruned."""
    return None if job_id is None else Job.objects.filter(pk=job_id).values_list("status", flat=True).first()


def _cancel(schedule: Schedule) -> None:
    """Cancel the schedule's latest job or, while an attempt runs, ask it to stop."""
    if schedule.last_job_id is None:
        return
    who = f"schedule {schedule.name}"
    rows = transitions.cancel([schedule.last_job_id], actor=Actor.SCHEDULER, who=who)
    rows = rows or transitions.request_cancel([schedule.last_job_id], actor=Actor.SCHEDULER, who=who)
    transaction.on_commit(partial(queue.push, rows), robust=True)


def _submit(schedule: Schedule, slots: Sequence[dt.datetime]) -> tuple[list[uuid.UUID], list[str]]:
    """Ids of the new jobs, and a note for each slot that was refused. A key that exists counts as done."""
    if not slots:
        return [], []
    try:
        outcomes = submit_many([request_of(schedule, key_of(schedule, s), jittered(schedule, s)) for s in slots])
    except JobsError as error:
        return [], [f"refused: {error}"]
    created = [outcome.id for outcome in outcomes if not isinstance(outcome, JobsError) and outcome.is_new]
    refused = [
        f"{slot_text(slot)} was refused: {outcome}"
        for slot, outcome in zip(slots, outcomes, strict=True)
        if isinstance(outcome, JobsError) and not isinstance(outcome, KeyReused)
    ]
    return created, refused


def _cursor(schedule: Schedule) -> Cursor:
    return schedule.pointer, schedule.version


def _words(status: str) -> str:
    return Status(status).value.replace("_", " ")
