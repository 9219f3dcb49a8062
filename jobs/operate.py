"""What clients and operators ask of jobs and queues: cancel, rerun, promote, settle, pause, resume.

Each is one short transaction, then Redis is told. A job that moved meanwhile is tried again a few
times; what its status does not allow raises NotAllowed with the statuses that would.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from typing import Any

from django.db import connections

from jobs import foreign, lifecycle, queue, queue_names, registry, transitions
from jobs.conf import conf
from jobs.database import alias, atomic, connection, on_commit, open_transaction
from jobs.errors import (
    EffectInTransaction,
    EffectNotSettled,
    JobNotFound,
    MalformedRequest,
    NotAllowed,
    UnknownQueue,
    UnknownType,
)
from jobs.lifecycle import Actor, Event, Status
from jobs.models import Job
from jobs.models.clock import NOW
from jobs.rows import Row
from jobs.rq_classes import theirs
from jobs.sql import db_id, for_update, is_postgresql
from jobs.texts import Unstorable, clean_text, to_json

log = logging.getLogger("jobs.operate")

MOVED_AT_ONCE = 500
"""Jobs a transaction: short ones do not disturb accepting."""

RACES = 5
"""How often a job may change under our hands before we give up."""


def cancel(job_id: uuid.UUID, *, actor: Actor, who: str) -> Event:
    """CANCEL when it is cancelled now, REQUEST_CANCEL when a running attempt was asked to stop.

    Asking again while an attempt is running changes nothing. Raises JobNotFound, NotAllowed.
    """
    return _try(
        job_id,
        {
            Event.CANCEL: lambda: transitions.cancel([job_id], actor=actor, who=who),
            Event.REQUEST_CANCEL: lambda: transitions.request_cancel([job_id], actor=actor, who=who),
        },
        is_done=lambda job: job.status == Status.RUNNING and job.cancel_requested_at is not None,
    )


def rerun(job_id: uuid.UUID, *, actor: Actor, who: str) -> Event:
    """Queue a failed or cancelled job again, with fresh allowances. Raises JobNotFound, NotAllowed."""

    def move() -> list[Row]:
        type_name = Job.objects.filter(pk=job_id).values_list("type", flat=True).first()
        try:
            max_crashes = registry.get(type_name or "").max_crashes
        except UnknownType:
            max_crashes = conf().max_crashes
        return transitions.rerun(job_id, max_crashes, actor=actor, who=who)

    return _try(job_id, {Event.RERUN: move})


def promote(job_id: uuid.UUID, *, actor: Actor, who: str) -> Event:
    """Make a scheduled job due now. Raises JobNotFound, NotAllowed."""
    return _try(job_id, {Event.PROMOTE: lambda: transitions.promote([job_id], actor=actor, who=who)})


def settle(
    job_id: uuid.UUID,
    effect_name: str,
    *,
    is_done: bool | None,
    result: Any = None,
    evidence: str,
    who: str,
    beside: Callable[[], object] | None = None,
) -> Event | None:
    """Record the truth about an effect in doubt; the job goes on once no effect holds it any more.

    `is_done` None leaves it in doubt and lets the handler's probe be asked again. `result` (JSON) is
    what a done effect gives to later attempts. Returns SETTLE or CANCEL (a cancel had
    been requested), or None while the job stays where it is: other effects are in doubt still, or it
    was not waiting. It is committed when this returns, together with what `beside` writes. Raises JobNotFound,
    EffectNotSettled, MalformedRequest, and EffectInTransaction inside a transaction, which could take it back.
    """
    if held_by := open_transaction(connections[alias()]):
        raise EffectInTransaction(
            f"the effect {effect_name!r} was not settled: {held_by} holds a transaction open, and a rollback would take"
            " it back; settle it outside of the transaction"
        )
    try:
        stored = to_json(result, conf().result_max_bytes) if is_done and result is not None else None
    except Unstorable as error:
        raise MalformedRequest(f"the result is no JSON that can be stored: {error}") from None
    with atomic(), connection.cursor() as cursor:
        cursor.execute(f"SELECT status FROM jobs_job WHERE id = %s{for_update()}", [db_id(job_id)])
        if cursor.fetchone() is None:
            raise JobNotFound()
        cast = "CAST(%s AS jsonb)" if is_postgresql() else "%s"
        cursor.execute(
            f"UPDATE jobs_effect SET status = %s, has_probe = {'true' if is_done is None else 'has_probe'},"
            f" result = {cast}, evidence = %s, settled_by = %s, ended_at = {NOW}"
            " WHERE job_id = %s AND name = %s AND status = 'in_doubt'",
            [
                {True: "done", False: "not_done", None: "in_doubt"}[is_done],
                stored,
                clean_text(evidence),
                who,
                db_id(job_id),
                effect_name,
            ],
        )
        if cursor.rowcount != 1:
            raise EffectNotSettled(f"the effect {effect_name!r} of this job is not in doubt")
        cursor.execute(
            "SELECT 1 FROM jobs_effect WHERE job_id = %s AND status = 'in_doubt'"
            " AND on_doubt = 'hold' AND NOT has_probe LIMIT 1",
            [db_id(job_id)],
        )
        moved = [] if cursor.fetchone() else transitions.settle(job_id, who=who)
        if beside is not None:
            beside()
        on_commit(queue.push, moved)
    if not moved:
        return None
    return Event.CANCEL if moved[0].status == Status.CANCELLED else Event.SETTLE


def pause_queue(name: str, who: str) -> None:
    """Nothing is claimed from the queue until it is resumed; what runs goes on. Raises UnknownQueue."""
    _set_pause(name, f"{NOW}", who)


def resume_queue(name: str, who: str) -> None:
    """Raises UnknownQueue."""
    _set_pause(name, "NULL", who)


def _set_pause(name: str, paused_at: str, who: str) -> None:
    if queue_names.unknown_among([name]):
        raise UnknownQueue(f"there is no queue {name!r}")
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO jobs_queuestate (name, paused_at, paused_by) VALUES (%s, {paused_at}, %s)"
            " ON CONFLICT (name) DO UPDATE SET paused_at = CASE WHEN excluded.paused_at IS NOT NULL"
            " AND jobs_queuestate.paused_at IS NOT NULL THEN jobs_queuestate.paused_at ELSE excluded.paused_at END,"
            " paused_by = excluded.paused_by",
            [name, who],
        )


def move_queue(source: str, target: str, who: str) -> int:
    """Give all open jobs of a queue another one, in short transactions; how many.

    Those that run go on, and keep the new queue for their next attempt. Raises UnknownQueue.
    """
    if unknown := queue_names.unknown_among([source]):
        raise UnknownQueue(f"there is no queue {unknown[0]!r}, and no open job waits in one of that name")
    if target not in conf().queues:
        raise UnknownQueue(
            f"there is no queue {target!r}; JOBS_QUEUES has {', '.join(conf().queues)}", queues=conf().queues
        )
    if source == target:
        raise MalformedRequest(f"the jobs of {source!r} are in that queue already")
    count = 0
    for _ in range(RACES):  # a job may change its status behind the one that is looked at
        count += sum(_move_all(source, target, status) for status in lifecycle.OPEN)
        if not queue_names.holds_open(source):
            break
    _forget_list(source)
    log.info("moved the jobs of a queue from=%s to=%s jobs=%d who=%s", source, target, count, who)
    return count


def _move_all(source: str, target: str, status: Status) -> int:
    count = 0
    last: uuid.UUID | None = None
    while True:
        with atomic():
            moved = transitions.change_queue(source, target, status, last, MOVED_AT_ONCE)
        if not moved:
            return count
        queue.push(moved)
        count += len(moved)
        if status != Status.QUEUED:  # those come in the order of their list, and leave what is searched
            last = moved[-1].id


def _forget_list(name: str) -> None:
    """Drop the list of a queue whose jobs were given another one, unless it is RQ's own. What is pushed in this moment is
    found as lost; an id that stays, since Redis does not answer, is delivered twice, which does no harm."""
    if theirs([name]):
        return
    try:
        foreign.clear(name, queue.broker())
        queue.broker().srem("rq:queues", queue.LIST + name)
    except Exception as error:  # whatever a client of Redis raises: the jobs are moved
        log.warning("Redis did not drop the list of a queue queue=%s error=%s", name, type(error).__name__)


def unsuspend() -> bool:
    """Undo `rq suspend`, which stops all workers of this Redis; whether they were suspended. Raises one of OUTAGE."""
    return bool(queue.broker().delete(queue.SUSPENDED))


def _try(
    job_id: uuid.UUID,
    moves: dict[Event, Callable[[], list[Row]]],
    *,
    is_done: Callable[[Job], bool] = lambda job: False,
) -> Event:
    """The first of the moves that the job's status allows."""
    job = None
    for _ in range(RACES):
        for event, move in moves.items():
            with atomic():
                moved = move()
            if moved:
                on_commit(queue.push, moved)
                return event
        job = Job.objects.filter(pk=job_id).only("status", "cancel_requested_at").first()
        if job is None:
            raise JobNotFound()
        if is_done(job):
            return next(reversed(moves))
        if job.status not in lifecycle.sources_of(*moves):
            break
    assert job is not None
    allowed = lifecycle.sources_of(*moves)
    event = next(iter(moves))
    raise NotAllowed(
        f"a job that is {job.status} cannot be {_PARTICIPLES[event]}; allowed while {', '.join(allowed)}",
        status=job.status,
        allowed=[str(status) for status in allowed],
    )


_PARTICIPLES = {Event.CANCEL: "cancelled", Event.RERUN: "run again", Event.PROMOTE: "promoted"}
