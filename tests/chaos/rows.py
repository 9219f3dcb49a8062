"""Faults of rows: somebody else's session locks some for a while, and everything that needs none of them goes on."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tests.chaos.hostile import burdens
from tests.chaos.hostile.requests import DEADLY

if TYPE_CHECKING:
    from psycopg import Connection

    from tests.chaos.faults import Stage

OTHERS = 3
PATIENCE_S = 45.0
"""Seconds for which a lock is kept, waiting for others to go on. It ends at once when they have."""

CALM_S = 20.0


@contextlib.contextmanager
def session(stage: Stage) -> Iterator[Connection[Any]]:
    """A session with a transaction of somebody else's, past every proxy."""
    import psycopg

    assert stage.site.server is not None
    with psycopg.connect(stage.site.server.url("postgres")) as connection:
        yield connection
        connection.rollback()


@contextlib.contextmanager
def calm(stage: Stage) -> Iterator[None]:
    """Nothing deadly runs within: whoever is charged a crash is charged for this fault."""
    from jobs.models import Job

    stage.site.calm.set()
    try:
        end = time.monotonic() + CALM_S
        open_ones = Job.objects.filter(type__in=DEADLY, status__in=("queued", "scheduled", "running"))
        while open_ones.exists():
            if time.monotonic() > end:
                raise TimeoutError("something deadly went on")
            time.sleep(0.1)
        yield
    finally:
        stage.site.calm.clear()


@contextlib.contextmanager
def spared(stage: Stage, ids: Sequence[str]) -> Iterator[None]:
    """Note that these jobs are not to be charged a crash within."""
    from jobs.models import Job

    before = dict(Job.objects.filter(pk__in=ids).values_list("id", "crashes"))
    try:
        yield
    finally:
        after = dict(Job.objects.filter(pk__in=ids).values_list("id", "crashes"))
        charged = [str(job_id) for job_id, crashes in after.items() if crashes > before[job_id]]
        stage.history.note("nemesis", "spared", ids=ids, charged=charged)


def others_go_on(stage: Stage, what: str) -> None:
    """Wait until some new jobs have ended; note how long it took, or that they did not."""
    began = time.monotonic()
    bodies = [
        {"type": "chaos", "payload": {"number": n}, "queue": "high", "idempotencyKey": f"beside-{began:.6f}-{n}"}
        for n in range(OTHERS)
    ]
    ids: dict[str, str] = {}
    while time.monotonic() < began + PATIENCE_S:
        for body in bodies:
            status = _ask(stage, body, ids.get(body["idempotencyKey"]))  # type: ignore[call-overload]
            if status is not None:
                ids[body["idempotencyKey"]] = status["id"]  # type: ignore[index]
                if status["status"] == "succeeded":
                    bodies.remove(body)
                    break
        if not bodies:
            stage.history.note("nemesis", "went on", fault=what, took=round(time.monotonic() - began, 3))
            return
        stage.site.ensure()
        time.sleep(0.05)
    stage.history.note("nemesis", "held up", fault=what, left=len(bodies), seconds=PATIENCE_S)


def _ask(stage: Stage, body: dict[str, Any], job_id: str | None) -> dict[str, Any] | None:
    try:
        if job_id is None:
            reply = stage.site.call("POST", "/api/jobs", body, timeout_s=5)
        else:
            reply = stage.site.call("GET", f"/api/jobs/{job_id}/status", timeout_s=5)
        return dict(reply.json()) if reply.status < 300 else None
    except Exception:
        return None


def submit(stage: Stage, count: int = 1, **body: Any) -> list[str]:
    """Ids of new jobs that the API accepted."""
    urgent = {"queue": "high", **body}
    replies = [stage.site.call("POST", "/api/jobs", urgent, timeout_s=20) for _ in range(count)]
    return [reply.json()["id"] for reply in replies if reply.status == 202]


def await_status(ids: Sequence[Any], *statuses: str, timeout_s: float = 90) -> None:
    from jobs.models import Job

    end = time.monotonic() + timeout_s
    while Job.objects.filter(pk__in=ids).exclude(status__in=statuses).exists():
        if time.monotonic() > end:
            raise TimeoutError(f"jobs did not come to {statuses}")
        time.sleep(0.05)


ENDED = ("succeeded", "failed", "cancelled", "in_doubt")


def lock_running_rows(stage: Stage) -> None:
    """An operator looks at jobs that run, in a transaction that stays open until after their handlers have returned."""
    with calm(stage):
        ids = submit(stage, 3, type="chaos", payload={"seconds": 1.0})
        await_status(ids, "running")
        with spared(stage, ids):
            with session(stage) as other:
                other.execute("SELECT 1 FROM jobs_job WHERE id = ANY(%s::uuid[]) FOR UPDATE", [ids])
                time.sleep(1.5)  # their handlers return meanwhile
                others_go_on(stage, "lock running rows")
            await_status(ids, *ENDED)


def lock_waiting_rows(stage: Stage) -> None:
    """Rows that are to be promoted and claimed."""
    ids = submit(stage, 3, type="chaos", payload={}, delaySeconds=0.5)
    with session(stage) as other:
        other.execute("SELECT 1 FROM jobs_job WHERE id = ANY(%s::uuid[]) FOR UPDATE", [ids])
        other.execute("SELECT 1 FROM jobs_job WHERE status = 'queued' LIMIT 20 FOR UPDATE SKIP LOCKED")
        time.sleep(1.5)  # they are due by then
        others_go_on(stage, "lock waiting rows")
    await_status(ids, *ENDED)


def lock_lease(stage: Stage) -> None:
    """One worker cannot renew: the others go on, and nobody is charged."""
    role = stage.worker()
    lease_id = stage.lease_of(role)
    if lease_id is None:
        return
    with calm(stage):
        from jobs.models import Job

        ids = [
            str(found) for found in Job.objects.filter(lease_id=lease_id, status="running").values_list("id", flat=True)
        ]
        with spared(stage, ids):
            with session(stage) as other:
                other.execute("SELECT 1 FROM jobs_lease WHERE id = %s FOR UPDATE", [lease_id])
                others_go_on(stage, "lock lease")
                time.sleep(stage.dice.choice([0, stage.site.lease_s]))
            time.sleep(1)


def lock_queue_state(stage: Stage) -> None:
    with session(stage) as other:
        other.execute(
            "INSERT INTO jobs_queuestate (name, paused_by) VALUES ('low', '') ON CONFLICT (name) DO UPDATE SET paused_by = ''"
        )
        other.commit()
        other.execute("SELECT 1 FROM jobs_queuestate FOR UPDATE")
        others_go_on(stage, "lock queue state")


def lock_table(stage: Stage) -> None:
    """Nothing can be written for a while, as under some migrations and backups: no job pays for it."""
    with calm(stage):
        ids = submit(stage, 3, type="chaos", payload={"seconds": 1.0})
        await_status(ids, "running")
        with spared(stage, ids):
            with session(stage) as other:
                other.execute("LOCK TABLE jobs_job IN SHARE MODE")
                time.sleep(stage.dice.choice([3.0, stage.site.lease_s + 2]))
            await_status(ids, *ENDED)


def stop_with_locked_rows(stage: Stage) -> None:
    """A worker is told to stop while somebody holds its jobs' rows: whoever finishes the work charges nobody."""
    with calm(stage):
        ids = submit(stage, 4, type="chaos", payload={"seconds": 12.0})
        await_status(ids, "running")
        role = stage.worker()
        with spared(stage, ids):
            with session(stage) as other:
                other.execute("SELECT 1 FROM jobs_job WHERE id = ANY(%s::uuid[]) FOR UPDATE", [ids])
                stage.site.processes[role].send(signal.SIGTERM)
                stage.site.processes[role].wait(60)
                stage.site.ensure()
                others_go_on(stage, "stop with locked rows")
            await_status(ids, *ENDED)


def kill_in_mid_statement(stage: Stage) -> None:
    """An attempt is killed at its hard limit while its server process computes on, holding the row."""
    with calm(stage):
        ids = submit(stage, 1, type="chaos-long-statement", payload={}, timeoutSeconds=1)
        await_status(ids, "running")
        with spared(stage, ids):
            time.sleep(4)  # past its hard limit
            others_go_on(stage, "kill in mid statement")
            await_status(ids, *ENDED)


def leave_transaction_behind(stage: Stage) -> None:
    """A thread that outlives its attempt holds a transaction: it stops nobody for long, and no innocent is charged."""
    with calm(stage):
        ids = submit(stage, 3, type="chaos", payload={"seconds": 6.0})
        await_status(ids, "running")
        with spared(stage, ids):
            submit(stage, 1, type="chaos-left-behind", payload={})
            others_go_on(stage, "leave transaction behind")
            await_status(ids, *ENDED)


def hold_write_lock(stage: Stage) -> None:
    """Somebody else holds SQLite's only write lock until horses cannot be renewed: no job pays for it."""
    with calm(stage):
        ids = submit(stage, 3, type="chaos", payload={"seconds": 2.0})
        await_status(ids, "running")
        with spared(stage, ids):
            with contextlib.closing(
                sqlite3.connect(stage.site.folder / "jobs.sqlite3", isolation_level=None, timeout=20)
            ) as other:
                other.execute("BEGIN IMMEDIATE")
                time.sleep(stage.dice.choice([2.0, stage.site.lease_s + 2]))
                other.execute("ROLLBACK")
            await_status(ids, *ENDED)


ANYWHERE = (leave_transaction_behind,)
ON_SQLITE = (hold_write_lock,)
ON_POSTGRES = (
    lock_running_rows, lock_waiting_rows, lock_lease, lock_queue_state, lock_table, stop_with_locked_rows,
    kill_in_mid_statement,
)  # fmt: skip

assert burdens.HELD_S < PATIENCE_S
