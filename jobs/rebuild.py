"""Redis rebuilt from the database: all of it after a loss, single jobs that a list lost, stale mirrors.

`loss.py` tells whether it lost something.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import takewhile
from typing import Any, cast

from jobs import foreign, loss, mirror, owner, queue, queue_names
from jobs.conf import conf
from jobs.database import connection
from jobs.loss import rival as rival
from jobs.models.clock import NOW, fixed, parse
from jobs.rows import Entry, Row, columns, fetch, mirror_entry
from jobs.rq_classes import theirs
from jobs.sql import db_id, db_time, for_update, in_few, is_postgresql, marks, py_id

CHUNK = 500
FEW = 100
"""Rows read at once where they may have large results."""

GLANCE = 20
PAGE = 500
PAGES = 40
"""Entries at the head of a list that one turn looks at, and trims where they are no longer queued: a few, then PAGES of PAGE."""

LAST = 1_000
"""Jobs that one horse records in one commit: as many as it may have threads, or claims ahead of them."""

RECENT_S = 600
MOST_MIRRORED = 10_000
"""After a loss the mirrors of open jobs and of those that finished in the last ten minutes are written again, at most so
many of each, the newest first. The statuses of others are read from the database."""

MIRROR_BYTES = 256 * 1024
"""Mirrors a call, unless one alone is larger: results may be large, and a call of many would hold up Redis."""

Keep = Callable[[], None]
"""Called between the steps of what may take long; raises where another housekeeper took over."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    pushed: int
    mirrored: int


def everything(beat: int, epoch: int, mark: str, identity: str, keep: Keep) -> Rebuilt:
    """Fill Redis in a new epoch, which the database has already: clear the lists, push every queued job, mirror what is
    open or finished lately.

    The beat is copied last: whoever dies on the way leaves it to the next one. A push between the
    clearing and our reading is of a job that was committed before, so it is read, too.
    """
    broker = queue.patient_broker(5.0)
    pipeline = broker.pipeline(transaction=False)
    pipeline.mset({mirror.EPOCH: mirror.epoch_text(epoch), owner.MARK: mark})
    pipeline.set(owner.ALIVE, identity, ex=loss.alive_s())
    pipeline.execute()
    names = queue_names.known()
    for name in set(names) - set(theirs(names)):
        keep()
        foreign.clear(name, broker)
    pushed = _walk("status = 'queued'", "queued_at", broker, keep, is_push=True)
    mirrored = _walk("status IN ('scheduled', 'running', 'in_doubt')", "id", broker, keep)
    mirrored += _walk(f"finished_at > {fixed('-' + str(RECENT_S))}", "finished_at", broker, keep)
    loss.copy_beat(beat, epoch, mark, identity)
    return Rebuilt(pushed, pushed + mirrored)


def push_since(seconds: float, keep: Keep) -> int:
    """After an outage: push what was queued in the last so many seconds, since nobody could."""
    broker = queue.patient_broker(5.0)
    return _walk(
        f"status = 'queued' AND queued_at > {fixed('-' + str(seconds))}", "queued_at", broker, keep, is_push=True
    )


def _walk(condition: str, order: str, broker: Any, keep: Keep, *, is_push: bool = False) -> int:
    """Push all rows that match, or mirror the newest of them, in pages by (order, id). Newest first does not run after
    what is new."""
    sign, direction = (">", "ASC") if is_push else ("<", "DESC")
    count = 0
    last: Row | None = None
    page = CHUNK if is_push else FEW
    while is_push or count < MOST_MIRRORED:
        keep()
        beyond = ""
        parameters: list[Any] = []
        if last is not None:
            beyond = f" AND ({order}, id) {sign} (%s, %s)"
            parameters = [db_id(last.id) if order == "id" else getattr(last, order), db_id(last.id)]
        rows = fetch(
            f"SELECT {columns()} FROM jobs_job WHERE {condition}{beyond}"
            f" ORDER BY {order} {direction}, id {direction} LIMIT {page}",
            parameters,
        )
        if rows and is_push:
            queue.run(queue.turn_for(rows), broker)
        elif rows:
            _mirror(rows, broker)
        count += len(rows)
        if len(rows) < page:
            break
        last = rows[-1]
    return count


def _mirror(rows: Sequence[Row], broker: Any = None) -> None:
    """In calls of at most MIRROR_BYTES."""
    entries: list[Entry] = []
    size = 0
    for entry in map(mirror_entry, rows):
        size += sum(map(len, entry))
        if entries and size > MIRROR_BYTES:
            queue.run(queue.Turn(mirrors=entries), broker)
            entries, size = [], sum(map(len, entry))
        entries.append(entry)
    if entries:
        queue.run(queue.Turn(mirrors=entries), broker)


def is_any_queued() -> bool:
    """Asked first, so that an idle system is not asked queue by queue, each second."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM jobs_job WHERE status = 'queued' LIMIT 1")
        return cursor.fetchone() is not None


def repush_lost(name: str, keep: Keep = lambda: None) -> int:
    """Push again the queued jobs of a queue that cannot be in its list any more; how many.

    A list is first-in first-out by `queued_at`, give or take the delay of a push. So what is older than
    the list's head by a margin is not in it; where the list has no queued job, anything past the margin.
    Each is stamped anew and so judged once a margin. A wrong guess only doubles a delivery. A stamp of the
    future is from before the clock was set back, and would hide its job until the clock comes round again.
    """
    margin_s = conf().lost_margin_s
    count = _push_again(name, f"queued_at > {fixed()}", [margin_s], keep)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM jobs_job WHERE status = 'queued' AND queue = %s"
            f" AND queued_at < {fixed('-' + str(margin_s))} LIMIT 1",
            [name],
        )
        if cursor.fetchone() is None:
            return count
    is_known, head = _head(name)
    if not is_known:
        return count  # the next turn looks further
    bound = fixed("-" + str(margin_s))
    if head is None:
        return count + _push_again(name, f"queued_at < {bound}", [], keep)
    # One bound, not two: an index is searched for one of them, and all that lies below it is read.
    earlier = "LEAST" if is_postgresql() else "MIN"
    return count + _push_again(name, f"queued_at < {earlier}({bound}, %s)", [head], keep)


def _push_again(name: str, bound: str, parameters: Sequence[Any], keep: Keep) -> int:
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
        keep()


def _head(name: str) -> tuple[bool, Any]:
    """(whether it was found out, `queued_at` less the margin of the first id in the list that is still queued; None: there
    is none).

    Ids before it are of jobs that were cancelled or taken meanwhile. They are trimmed: a paused queue has nobody who
    takes them, and while they fill the head nobody can tell what is missing behind them.
    """
    broker = queue.broker()
    kept = 0  # what somebody else put there
    for size in (GLANCE, *[PAGE] * PAGES):
        raw = cast("list[bytes]", broker.lrange(queue.LIST + name, kept, kept + size - 1))
        queued, over = _of_ours(raw)
        first = next((at for at, text in enumerate(raw) if text in queued), len(raw))
        stale = list(takewhile(over.__contains__, raw[:first])) if kept == 0 else []
        if stale:
            foreign.put_aside((text, name) for text in stale)  # ids of theirs may look like ours
            broker.eval(TRIM, 1, queue.LIST + name, *stale)
        if first < len(raw):
            return True, _less_margin(queued[raw[first]])
        if len(raw) < size:
            return True, None
        kept += len(raw) - len(stale)
    return False, None


TRIM = files("jobs").joinpath("lua/trim.lua").read_text()

OUR_VERSION = 7
"""Ids of jobs are UUIDs of this version; RQ's own are of version 4."""


def _of_ours(texts: Sequence[bytes]) -> tuple[dict[bytes, Any], set[bytes]]:
    """Entries of a list: those that are queued jobs, with their `queued_at`, and those that are ours and need nobody."""
    ids = {job_id: text for text in texts if (job_id := queue.as_id(text)) is not None}
    if not ids:
        return {}, set()
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id, status, queued_at FROM jobs_job WHERE id IN ({marks(len(ids))})", [db_id(i) for i in ids]
        )
        found = {py_id(raw[0]): raw[1:] for raw in cursor.fetchall()}
    queued = {ids[job_id]: queued_at for job_id, (status, queued_at) in found.items() if status == "queued"}
    over = {text for job_id, text in ids.items() if job_id in found or job_id.version == OUR_VERSION}
    return queued, over - queued.keys()


def _less_margin(queued_at: Any) -> Any:
    moment = parse(queued_at)
    assert moment is not None
    return db_time(moment - dt.timedelta(seconds=conf().lost_margin_s))


def mend_mirrors_of(lease_id: uuid.UUID) -> None:
    """Mirror again what a dead horse finished last: it may have died between its commit and its call."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id FROM jobs_job WHERE finished_at > {fixed('-60')} AND lease_id = %s"
            f" ORDER BY finished_at DESC LIMIT {LAST}",
            [db_id(lease_id)],
        )
        ids = [py_id(raw[0]) for raw in cursor.fetchall()]
    with contextlib.suppress(*queue.OUTAGE):
        for at in range(0, len(ids), FEW):
            _mirror(mirror.rows_of(ids[at : at + FEW]))
