"""The end of a fault run: the database is restored from a backup, beside a Redis that is newer, and then Redis loses something.

What was accepted after the backup is gone, as it must be. Nothing may be told of it as if it were there.
"""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

from django.db import connections

from tests.chaos.site import Site
from tests.support.postgres import PostgresServer

NAME = "restore database"
RUNNING = 3
LOST = 6
LIVES_S = 8.0
PATIENCE_S = 60.0


def violations(site: Site) -> Iterator[str]:
    """Restore, lose, and look: what is wrong, in words."""
    try:
        yield from _violations(site)
    except TimeoutError as error:
        yield str(error)


def _violations(site: Site) -> Iterator[str]:
    running = _submit(site, RUNNING, seconds=LIVES_S)
    _eventually(lambda: all(_status(site, job_id) == "running" for job_id in running), "jobs did not start")
    _backup(site)
    epoch = _epoch(site)
    with site.redis() as redis:
        redis.flushall()
    _eventually(lambda: _epoch(site) > epoch, "a flushed Redis was not filled anew")
    lost = _submit(site, LOST)
    _eventually(lambda: all(_status(site, job_id) == "succeeded" for job_id in lost), "jobs did not succeed")
    newest = _redis_epoch(site)
    for process in site.processes.values():
        process.destroy()
    _restore(site)
    site.start_all()
    yield from _look(site, lost, newest, "after the restore")
    epoch = _epoch(site)
    _eventually(lambda: _lose_beat(site) or _epoch(site) > epoch, "a Redis without its beat was not filled anew")
    yield from _look(site, lost, newest, "after the restore and one more loss")
    yield from _look_at_running(running)


def _look(site: Site, lost: list[str], newest: int, when: str) -> Iterator[str]:
    with contextlib.suppress(TimeoutError):
        _eventually(lambda: _redis_epoch(site) > newest)
    if _redis_epoch(site) <= newest:
        yield f"{when} Redis' epoch is {_redis_epoch(site)}, and it was {newest} before"
    with contextlib.suppress(TimeoutError):
        _eventually(lambda: all(_status(site, job_id) is None for job_id in lost))
    for job_id in lost:
        status = _status(site, job_id)
        if status is not None:
            yield f"{when} job {job_id} is answered as {status}, and the database does not have it"


def _lose_beat(site: Site) -> None:
    """A housekeeper that has looked already writes it once more, so it is lost again and again."""
    with site.redis() as redis:
        redis.delete("jobs:beat")


def _look_at_running(running: list[str]) -> Iterator[str]:
    from jobs.models import Job

    ended = Job.objects.filter(pk__in=running, status="succeeded")
    with contextlib.suppress(TimeoutError):
        _eventually(lambda: ended.count() == len(running))
    for job in Job.objects.filter(pk__in=running):
        if job.status != "succeeded" or job.crashes:
            yield f"job {job.id} ran when the backup was made; it is {job.status} after {job.crashes} crashes"


def _submit(site: Site, count: int, **payload: Any) -> list[str]:
    body = {"type": "chaos", "payload": payload}
    replies = [site.call("POST", "/api/jobs", body, timeout_s=20) for _ in range(count)]
    return [reply.json()["id"] for reply in replies]


def _status(site: Site, job_id: str) -> str | None:
    """As the API answers; None: it knows of no such job."""
    reply = site.call("GET", f"/api/jobs/{job_id}/status", timeout_s=20)
    return None if reply.status == 404 else str(reply.json()["status"])


def _epoch(site: Site) -> int:
    from jobs.models import Housekeeping

    return int(Housekeeping.objects.get(pk=1).epoch)


def _redis_epoch(site: Site) -> int:
    with site.redis() as redis:
        return int((redis.get("jobs:epoch") or b"0").split(b":")[0], 16)


def _backup(site: Site) -> None:
    if site.server is None:
        source, target = (sqlite3.connect(site.folder / name) for name in ("jobs.sqlite3", "backup.sqlite3"))
        source.backup(target)
        source.close(), target.close()
    else:
        _tool(site.server, "pg_dump", "--format=custom", f"--file={_dump(site.server)}")


def _restore(site: Site) -> None:
    connections.close_all()
    if site.server is None:
        for suffix in ("-wal", "-shm"):
            (site.folder / f"jobs.sqlite3{suffix}").unlink(missing_ok=True)
        (site.folder / "backup.sqlite3").replace(site.folder / "jobs.sqlite3")
    else:
        _tool(site.server, "pg_restore", "--clean", "--if-exists", "--exit-on-error", f"{_dump(site.server)}")


def _dump(server: PostgresServer) -> str:
    return str(server.data / "chaos.dump")


def _tool(server: PostgresServer, name: str, *arguments: str) -> None:
    where = [f"--port={server.port}", "--host=127.0.0.1", "--username=postgres", "--dbname=postgres"]
    server.run(name, *where, *arguments)


def _eventually(check: Callable[[], bool], otherwise: str = "") -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            if check():
                return
        time.sleep(0.1)
    raise TimeoutError(otherwise)
