"""Leases: opened and renewed by a worker's parent, revoked by whoever takes its horse for dead.

Revoking comes first, moving the jobs after: from the revocation on nothing can be claimed under it.
"""

from __future__ import annotations

import datetime as dt
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
from jobs.run import TIMEOUT, backoff_s, budget_of, is_isolated
from jobs.sql import db_id, is_postgresql, marks, py_id
from jobs.transitions import Ended

ROUNDS, ROUND_S = 20, 0.05
"""How often, and after how many seconds, rows that others have locked are looked for again."""

FORK_S = 5.0
"""How long the start of an isolated attempt may take."""

Verdict = Callable[[Sequence[Row]], list[Ended]]
"""What is to become of the running jobs of a lease."""


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


def end_lease(lease_id: uuid.UUID, verdict: Verdict, *, actor: Actor, who: str) -> list[Row]:
    """Revoke a lease and end its running attempts; the rows that moved. Pushes what is queued again."""
    moved: list[Row] = []
    for _ in range(ROUNDS):
        with atomic():
            with connection.cursor() as cursor:
                cursor.execute(
                    f"UPDATE jobs_lease SET revoked_at = {NOW}, revoked_by = %s WHERE id = %s AND revoked_at IS NULL",
                    [who, db_id(lease_id)],
                )
            rows = transitions.running_of(lease_id)
            step = transitions.end_attempts(verdict(rows), actor=actor, who=who) if rows else []
            _count(rows, step, lease_id)
            if step:
                failpoints.hit("expire.before_commit")
        queue.push(step)
        moved += step
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT 1 FROM jobs_job WHERE lease_id = %s AND status = 'running' LIMIT 1", [db_id(lease_id)]
            )
            if cursor.fetchone() is None:
                break
        time.sleep(ROUND_S)
    return moved


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
    """The statistics of attempts that could not add themselves up."""
    now = {row.id: row for row in after}
    ended = [(row, now[row.id], _age_s(row)) for row in before if row.id in now]
    if ended:
        stats.add(ended, Lease.objects.filter(pk=lease_id).values_list("worker", flat=True).first() or "")


def _age_s(row: Row) -> float:
    started = parse(row.started_at)
    return 0.0 if started is None else max(0.0, (dt.datetime.now(dt.UTC) - started).total_seconds())


class HardLimits:
    """The running attempts of a lease, timed by a clock that nobody sets, from when their parent saw them first.

    The database's clock would not do: set forward by an hour, it would end whatever runs.
    """

    def __init__(self, lease_id: uuid.UUID) -> None:
        self._lease_id = lease_id
        self._since: dict[tuple[uuid.UUID, int], float] = {}

    def passed(self, running_now: Callable[[], set[uuid.UUID]]) -> dict[uuid.UUID, str]:
        """Jobs that should have been over `hard_timeout_extra_s` after their timeout, each with a sentence: of those that
        are being run, since one that holds the interpreter holds up all that were claimed with it.

        Those in a process of their own have twice as long: the horse ends them by itself, and alone.
        """
        now = time.monotonic()
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT id, attempt, timeout_s FROM jobs_job WHERE lease_id = %s AND status = 'running'",
                [db_id(self._lease_id)],
            )
            running = {(py_id(raw[0]), raw[1]): raw[2] for raw in cursor.fetchall()}
        self._since = {attempt: self._since.get(attempt, now) for attempt in running}
        extra_s = conf().hard_timeout_extra_s
        late = {
            job_id: late_s
            for (job_id, number), timeout_s in running.items()
            if (late_s := now - self._since[job_id, number] - timeout_s) > extra_s
        }
        if late:
            late = {job_id: late[job_id] for job_id in running_now() & late.keys()}
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


# --- verdicts -------------------------------------------------------------------------------------


def crashed(why: str, ran: Set[uuid.UUID] | None = None) -> Verdict:
    """The process died: a crash for each job that ran in it, as far as it is known which of those that it had claimed.

    Attempts in a process of their own are not to blame for the horse's death, unless nobody else ran.
    """

    def verdict(rows: Sequence[Row]) -> list[Ended]:
        claimed = {row.id for row in rows if not is_isolated(row)} or {row.id for row in rows}
        suspects = claimed & ran if ran else claimed
        suspects = suspects or claimed  # it cannot die for ever of what nobody pays for
        return [
            _ended(row, End.DIED, "crashed", why) if row.id in suspects else _ended(row, End.RELEASED) for row in rows
        ]

    return verdict


def released(rows: Sequence[Row]) -> list[Ended]:
    """Told to stop: nobody is to blame."""
    return [_ended(row, End.RELEASED) for row in rows]


def overdue(culprits: dict[uuid.UUID, str]) -> Verdict:
    """The horse was killed because of jobs past their hard limit: they pay, the others do not."""

    def verdict(rows: Sequence[Row]) -> list[Ended]:
        return [
            _ended(row, End.RAISED, TIMEOUT, culprits[row.id]) if row.id in culprits else _ended(row, End.RELEASED)
            for row in rows
        ]

    return verdict


def _ended(row: Row, end: End, code: str | None = None, message: str | None = None) -> Ended:
    assert row.lease_id is not None
    return Ended(
        row.id,
        row.attempt,
        row.lease_id,
        end,
        budget_of(row),
        has_effects=row.has_effects,
        delay_s=backoff_s(row),
        error_code=code,
        error_message=message,
    )
