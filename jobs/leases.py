"""Leases: opened and renewed by a worker's parent, revoked by whoever takes its horse for dead.

Revoking comes first, moving the jobs after: from the revocation on nothing can be claimed under it. Its commit holds
the verdict as well, which is true for all jobs of the lease, even for those that are moved later or by another process.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Sequence, Set

from django.db import DatabaseError, InterfaceError

from jobs import failpoints, process, queue, stats, transitions
from jobs.conf import conf
from jobs.database import atomic, connection
from jobs.lifecycle import Actor, End
from jobs.models import Lease
from jobs.models.clock import NOW, parse
from jobs.rows import Row, columns, fetch
from jobs.run import is_isolated
from jobs.sql import db_id, for_update, is_lock, is_postgresql, marks, py_id
from jobs.verdicts import Judged, Verdict, crashed, overdue, released, terminated

log = logging.getLogger("jobs.leases")

__all__ = [
    "HardLimits",
    "Verdict",
    "crashed",
    "end_lease",
    "is_lock_free_now",
    "is_revoked",
    "note_horse",
    "open_lease",
    "overdue",
    "released",
    "renew",
    "running_under",
    "terminated",
]

ROUNDS, ROUND_S = 5, 0.05
"""How often, and after how many seconds, rows that others have locked are looked for again; housekeeping does the rest."""

FORK_S = 5.0
"""How long the start of an isolated attempt may take."""


def open_lease(*, kind: str, worker: str, queue_names: Sequence[str], concurrency: int) -> uuid.UUID:
    """A new lease for a horse that is about to be started by this process."""
    here = process.place()
    lease = Lease.objects.create(
        id=uuid.uuid4(),
        kind=kind,
        worker=worker,
        queues=list(queue_names),
        concurrency=concurrency,
        hostname=socket.gethostname(),
        boot_id=here.boot_id,
        pid_namespace=here.pid_namespace,
        parent_pid=os.getpid(),
        parent_started=process.started(os.getpid()),
    )
    return lease.id


def note_horse(lease_id: uuid.UUID, pid: int) -> None:
    """Let housekeepers on this machine look at the horse itself."""
    Lease.objects.filter(pk=lease_id).update(horse_pid=pid, horse_started=process.started(pid))


def renew(lease_id: uuid.UUID, threads: int) -> bool:
    """Raise the beat, and note of how many threads it is; False when the lease was revoked."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE jobs_lease SET beat = beat + 1, renewed_at = {NOW}, concurrency = %s"
            " WHERE id = %s AND revoked_at IS NULL",
            [threads, db_id(lease_id)],
        )
        return bool(cursor.rowcount == 1)


def is_revoked(lease_id: uuid.UUID) -> bool:
    return not Lease.objects.filter(pk=lease_id, revoked_at=None).exists()


def end_lease(
    lease_id: uuid.UUID,
    verdict: Verdict,
    *,
    actor: Actor,
    who: str,
    begun: Set[uuid.UUID] | None = None,
    rounds: int = ROUNDS,
) -> list[Row]:
    """Revoke a lease and end its running attempts; the rows that moved. Pushes what is queued again.

    A lease that was revoked before keeps the verdict of that time. `begun` holds the jobs whose handlers were started;
    None means that nobody knows. Rows that others have locked stay as they are: the next call moves them.
    """
    judged = _revoke(lease_id, verdict, begun, who)
    moved: list[Row] = []
    for number in range(rounds):
        if number:
            time.sleep(ROUND_S)
        step, is_rest = _end_some(lease_id, judged, actor, who)
        moved += step
        if not is_rest:
            break
    return moved


def _revoke(lease_id: uuid.UUID, verdict: Verdict, begun: Set[uuid.UUID] | None, who: str) -> Judged:
    """The verdict that holds: the one that was stored with the revocation, or from now on this one."""
    with atomic(), connection.cursor() as cursor:
        cursor.execute(f"SELECT verdict FROM jobs_lease WHERE id = %s{for_update()}", [db_id(lease_id)])
        found = cursor.fetchone()
        if found is not None and found[0] is not None:
            return Judged.of_json(found[0])
        judged = verdict.on(running_under(lease_id), begun)
        cast = "CAST(%s AS jsonb)" if is_postgresql() else "%s"
        cursor.execute(
            f"UPDATE jobs_lease SET verdict = {cast}, revoked_at = COALESCE(revoked_at, {NOW}),"
            " revoked_by = COALESCE(revoked_by, %s) WHERE id = %s",
            [judged.as_json(), who, db_id(lease_id)],
        )
    return judged


def running_under(lease_id: uuid.UUID) -> list[Row]:
    """The running jobs of a lease, those included that somebody has locked."""
    return fetch(f"SELECT {columns()} FROM jobs_job WHERE lease_id = %s AND status = 'running'", [db_id(lease_id)])


def _end_some(lease_id: uuid.UUID, judged: Judged, actor: Actor, who: str) -> tuple[list[Row], bool]:
    """End the attempts whose rows nobody has locked, in one commit: (the rows that moved, whether others are left)."""
    with atomic():
        rows = transitions.running_of(lease_id)
        ends = judged.ends_of(rows)
        held = transitions.locked_elsewhere(ends)
        ends = [item for item in ends if item.job_id not in held]
        step = transitions.end_attempts(ends, actor=actor, who=who) if ends else []
        if step:
            failpoints.hit("expire.before_commit")
    unbegun = {item.job_id for item in ends if item.end is End.UNBEGUN}
    _give_back([row for row in step if row.id in unbegun])
    queue.push([row for row in step if row.id not in unbegun])
    _count([row for row in rows if row.id not in unbegun], step, lease_id)
    return step, bool(running_under(lease_id))


def _give_back(rows: Sequence[Row]) -> None:
    """Put claims that were taken back at the heads of their lists. Housekeeping finds those that Redis did not take."""
    if rows:
        turn = queue.turn_for(rows)
        with contextlib.suppress(Exception):
            queue.run(queue.Turn(mirrors=turn.mirrors, returns=turn.pushes))


def is_lock_free_now() -> bool:
    """Whether SQLite can be written at once: asked when a horse that could not be renewed is gone, to tell
    whether it was its own handler that held the lock. Always False on PostgreSQL, which locks rows."""
    if is_postgresql():
        return False
    try:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout = 100")
        with atomic():
            return True
    except (DatabaseError, InterfaceError):
        return False
    finally:
        connection.close()  # the next connection waits as long as the settings say


def _count(before: Sequence[Row], after: Sequence[Row], lease_id: uuid.UUID) -> None:
    """Add up the attempts that could not do it themselves. Other processes add to the same rows: a lock of theirs may
    cost these figures, but not the jobs."""
    now = {row.id: row for row in after}
    ended = [(row, now[row.id], _age_s(row)) for row in before if row.id in now]
    if not ended:
        return
    try:
        with atomic():
            stats.add(ended, Lease.objects.filter(pk=lease_id).values_list("worker", flat=True).first() or "")
    except DatabaseError as error:
        if not is_lock(error):
            raise
        log.warning("%d attempts of lease %s are missing in the statistics: their row is locked", len(ended), lease_id)


def _age_s(row: Row) -> float:
    started = parse(row.started_at)
    return 0.0 if started is None else max(0.0, (dt.datetime.now(dt.UTC) - started).total_seconds())


class HardLimits:
    """The running attempts of a lease, timed by a clock that nobody sets, from when their parent saw them run first.

    The database's clock would not do: set forward by an hour, it would end whatever runs.
    """

    def __init__(self, lease_id: uuid.UUID) -> None:
        self._lease_id = lease_id
        self._since: dict[tuple[uuid.UUID, int], float] = {}
        """By job and by the version that its claim gave to the row."""

    def passed(self, running_now: Callable[[], set[uuid.UUID]]) -> dict[uuid.UUID, str]:
        """Jobs that should have been over `hard_timeout_extra_s` after their timeout, each with a sentence: of those that
        are being run, since one that holds the interpreter holds up all that were claimed with it.

        Those in a process of their own have twice as long: the horse ends them by itself, and alone.
        """
        now = time.monotonic()
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT id, version - CASE WHEN cancel_requested_at IS NULL THEN 0 ELSE 1 END, timeout_s FROM jobs_job"
                " WHERE lease_id = %s AND status = 'running'",
                [db_id(self._lease_id)],
            )
            running = {(py_id(raw[0]), raw[1]): raw[2] for raw in cursor.fetchall()}
        here = running_now() if running else ()
        self._since = {attempt: self._since.get(attempt, now) for attempt in running if attempt[0] in here}
        extra_s = conf().hard_timeout_extra_s
        late = {
            attempt[0]: late_s
            for attempt, since in self._since.items()
            if (late_s := now - since - running[attempt]) > extra_s
        }
        return {
            row.id: f"the attempt was killed {late[row.id]:.1f} s after its timeout"
            for row in self._rows(list(late))
            if not is_isolated(row) or late[row.id] > 2 * extra_s + FORK_S
        }

    def _rows(self, ids: Sequence[uuid.UUID]) -> list[Row]:
        if not ids:
            return []
        return fetch(
            f"SELECT {columns()} FROM jobs_job WHERE lease_id = %s AND status = 'running' AND id IN ({marks(len(ids))})",
            [db_id(self._lease_id), *map(db_id, ids)],
        )
