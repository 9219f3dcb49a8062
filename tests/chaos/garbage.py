"""Faults that leave work behind: ids that are no longer queued at the head of a list, and what is owed to Redis."""

from __future__ import annotations

import os
import signal
import time
import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.chaos.faults import Stage

QUEUE = "bulk"
MANY = 50
CANCELLED = 600
KEPT = 20
PAUSED_S = 3.0
"""Seconds in which all horses hear that a queue is paused."""

RESULTS = 60
MEMORY_MIB = 160.0
"""Growth of one horse that is excused, over 30 MB of results that Redis could not take."""


def _submit_many(count: int, **body: Any) -> list[uuid.UUID]:
    from jobs import envelope, submission
    from tests.chaos.site import CLIENT

    ids: list[uuid.UUID] = []
    while len(ids) < count:
        several = [
            envelope.parse(dict(body), client=CLIENT, source="python") for _ in range(min(count - len(ids), MANY))
        ]
        ids += [found.id for found in submission.submit_many(several) if isinstance(found, submission.Submitted)]
    return ids


def cancel_in_bulk(stage: Stage) -> None:
    """Most of what waits in a paused queue is cancelled; the ids stay in its list until somebody trims it."""
    from jobs import operate
    from jobs.lifecycle import Actor

    operate.pause_queue(QUEUE, "nemesis")
    try:
        time.sleep(PAUSED_S)
        ids = _submit_many(CANCELLED + KEPT, type="chaos", payload={}, queue=QUEUE)
        for job_id in ids[:CANCELLED]:
            operate.cancel(job_id, actor=Actor.OPERATOR, who="nemesis")
        _await_trimmed(stage)
    finally:
        operate.resume_queue(QUEUE, "nemesis")


def _await_trimmed(stage: Stage) -> None:
    """Note how long the list stayed longer than what is queued in it."""
    began = time.monotonic()
    with stage.site.redis() as redis:
        while time.monotonic() < began + 40:
            held = redis.llen(f"rq:queue:{QUEUE}")
            if held <= 4 * KEPT:
                stage.history.note("nemesis", "trimmed", took=round(time.monotonic() - began, 3), held=held)
                return
            time.sleep(0.2)
        stage.history.note("nemesis", "not trimmed", held=held)


def large_results(stage: Stage) -> None:
    """Redis is away while jobs return much: what is owed to it is bounded, and new jobs are quick once it is back."""
    from jobsite import broker
    from tests.chaos import rows
    from tests.chaos.faults import WORKERS
    from tests.chaos.watch import memory_mib

    pid = broker.pid(stage.site.folder)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    horses = {role: stage.site.horse(role) for role in WORKERS}
    before = {horse: memory_mib(horse) for horse in horses.values()}
    ids = _submit_many(RESULTS, type="chaos-large", payload={})
    rows.await_status(ids, *rows.ENDED, timeout_s=120)
    for horse, was in before.items():
        grown = memory_mib(horse) - was
        stage.history.note("nemesis", "memory", horse=horse, before=round(was), grown=round(grown, 1))


KINDS = (cancel_in_bulk, large_results)
