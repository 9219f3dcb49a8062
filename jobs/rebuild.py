"""Redis rebuilt from the database: all of it after a loss, single jobs that a list lost, stale mirrors."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from jobs import mirror, queue, queue_names
from jobs.conf import conf
from jobs.database import connection
from jobs.models.clock import NOW, fixed, parse
from jobs.rows import Row, columns, fetch, mirror_entry
from jobs.sql import db_id, db_time, for_update, in_few, is_postgresql, marks, py_id

BEAT = "jobs:beat"
"""`<epoch>:<beat>`: what the last housekeeper copied from the database."""

FIRST = (1, 1)
"""Epoch and beat of the first turn that a database sees."""

ON_THEIR_WAY = 20
"""So few queued jobs may well be in no list: popped a moment ago and not claimed yet, or committed and not pushed yet."""

BEHIND = 5
"""Beats that Redis may be behind without having lost anything but what `repush_lost` finds by itself."""

CHUNK = 500
PAGE = 200
PAGES = 50
"""Entries of a list that are looked at for its head: PAGES pages of PAGE."""

LAST = 1_000
"""Jobs that one horse records in one commit: as many as it may have threads, or claims ahead of them."""

RECENT_S = 600
"""After a loss the mirrors of jobs that finished in the last ten minutes are written again."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    pushed: int
    mirrored: int


def is_behind(beat: int, epoch: int) -> bool:
    """Whether Redis' copy of the beat is missing, old (a snapshot), or ahead (the database was restored).

    Before the first turn of all there was nobody to make a copy; then the lists tell.
    """
    copy = cast("bytes | None", queue.broker().get(BEAT))
    if copy is None and (epoch, beat) == FIRST:
        return _is_half_missing()
    try:
        copied_epoch, copied_beat = (int(part) for part in (copy or b"").split(b":"))
    except ValueError:
        return True
    return copied_epoch != epoch or not beat - BEHIND <= copied_beat <= beat


def _is_half_missing() -> bool:
    """Whether the lists hold less than half of what is queued. If what may be on its way is missing for good,
    `repush_lost` finds it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM jobs_job WHERE status = 'queued'")
        (queued,) = cursor.fetchone()
    held = sum(queue.broker().llen(queue.LIST + name) for name in queue_names.known())
    return bool(queued > 2 * held + ON_THEIR_WAY)


def copy_beat(beat: int, epoch: int) -> None:
    queue.broker().set(BEAT, f"{epoch}:{beat}")


def everything(beat: int, epoch: int) -> Rebuilt:
    """Begin a new epoch: clear the lists, push every queued job, mirror what is open or finished lately.

    The beat is copied last: whoever dies on the way leaves it to the next one. A push between the
    clearing and our reading is of a job that was committed before, so it is read, too.
    """
    broker = queue.patient_broker(5.0)
    broker.ping()  # an outage raises here, before it costs an epoch a turn
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE jobs_housekeeping SET epoch = %s, rebuilt_at = {NOW} WHERE id = 1 AND epoch < %s", [epoch, epoch]
        )
    pipeline = broker.pipeline(transaction=False)
    pipeline.set(mirror.EPOCH, mirror.epoch_text(epoch))
    for name in queue_names.known():
        pipeline.delete(queue.LIST + name)
    pipeline.execute()
    pushed = _walk("status = 'queued'", "queued_at", broker, is_push=True)
    mirrored = _walk("status IN ('scheduled', 'running', 'in_doubt')", "id", broker)
    mirrored += _walk(f"finished_at > {fixed('-' + str(RECENT_S))}", "finished_at", broker, is_newest_first=True)
    copy_beat(beat, epoch)
    return Rebuilt(pushed, pushed + mirrored)


def _walk(condition: str, order: str, broker: Any, *, is_push: bool = False, is_newest_first: bool = False) -> int:
    """Push or mirror all rows that match, in pages by (order, id). Newest first it does not run after what is new."""
    sign, direction = ("<", "DESC") if is_newest_first else (">", "ASC")
    count = 0
    last: Row | None = None
    while True:
        beyond = ""
        parameters: list[Any] = []
        if last is not None:
            beyond = f" AND ({order}, id) {sign} (%s, %s)"
            parameters = [db_id(last.id) if order == "id" else getattr(last, order), db_id(last.id)]
        rows = fetch(
            f"SELECT {columns()} FROM jobs_job WHERE {condition}{beyond}"
            f" ORDER BY {order} {direction}, id {direction} LIMIT {CHUNK}",
            parameters,
        )
        if rows:
            turn = queue.turn_for(rows) if is_push else queue.Turn(mirrors=[mirror_entry(row) for row in rows])
            queue.run(turn, broker)
        count += len(rows)
        if len(rows) < CHUNK:
            return count
        last = rows[-1]


def is_any_queued() -> bool:
    """Asked first, so that an idle system is not asked queue by queue, each second."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM jobs_job WHERE status = 'queued' LIMIT 1")
        return cursor.fetchone() is not None


def repush_lost(name: str) -> int:
    """Push again the queued jobs of a queue that cannot be in its list any more; how many.

    A list is first-in first-out by `queued_at`, give or take the delay of a push. So what is older than
    the list's head by a margin is not in it; where the list has no queued job, anything past the margin.
    Each is stamped anew and so judged once a margin. A wrong guess only doubles a delivery. A stamp of the
    future is from before the clock was set back, and would hide its job until the clock comes round again.
    """
    margin_s = conf().lost_margin_s
    count = _push_again(name, f"queued_at > {fixed()}", [margin_s])
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM jobs_job WHERE status = 'queued' AND queue = %s"
            f" AND queued_at < {fixed('-' + str(margin_s))} LIMIT 1",
            [name],
        )
        if cursor.fetchone() is None:
            return count
    head = _head(name)
    bound = fixed("-" + str(margin_s))
    if head is None:
        return count + _push_again(name, f"queued_at < {bound}", [])
    # One bound, not two: an index is searched for one of them, and all that lies below it is read.
    earlier = "LEAST" if is_postgresql() else "MIN"
    return count + _push_again(name, f"queued_at < {earlier}({bound}, %s)", [head])


def _push_again(name: str, bound: str, parameters: Sequence[Any]) -> int:
    count = 0
    while True:
        lost = (
            f"SELECT id FROM jobs_job WHERE status = 'queued' AND queue = %s AND {bound}"
            f" ORDER BY queued_at LIMIT {CHUNK}{for_update(skip_locked=True)}"
        )
        rows = fetch(
            f"UPDATE jobs_job SET queued_at = {NOW} WHERE status || '' = 'queued' AND id {in_few(lost)}"
            f" RETURNING {columns()}",
            [name, *parameters],
        )
        if rows:
            queue.run(queue.turn_for(sorted(rows, key=lambda row: row.id)))
        count += len(rows)
        if len(rows) < CHUNK:
            return count


def _head(name: str) -> Any:
    """`queued_at` less the margin of the first id in the list that is still queued; None: there is none."""
    broker = queue.broker()
    for page in range(PAGES):
        raw = cast("list[bytes]", broker.lrange(queue.LIST + name, page * PAGE, (page + 1) * PAGE - 1))
        ids = [job_id for text in raw if (job_id := queue.as_id(text)) is not None]
        if ids:
            with connection.cursor() as cursor:
                cursor.execute(
                    f"SELECT id, queued_at FROM jobs_job WHERE status || '' = 'queued' AND id IN ({marks(len(ids))})",
                    [db_id(i) for i in ids],
                )
                queued = {py_id(raw_id): queued_at for raw_id, queued_at in cursor.fetchall()}
            for job_id in ids:
                if job_id in queued:
                    return _less_margin(queued[job_id])
        if len(raw) < PAGE:
            return None
    return None


def _less_margin(queued_at: Any) -> Any:
    moment = parse(queued_at)
    assert moment is not None
    return db_time(moment - dt.timedelta(seconds=conf().lost_margin_s))


def mend_mirrors_of(lease_id: uuid.UUID) -> None:
    """Mirror again what a dead horse finished last: it may have died between its commit and its call."""
    rows: list[Row] = fetch(
        f"SELECT {columns()} FROM jobs_job WHERE finished_at > {fixed('-60')} AND lease_id = %s"
        f" ORDER BY finished_at DESC LIMIT {LAST}",
        [db_id(lease_id)],
    )
    if rows:
        mirror.write(rows)
