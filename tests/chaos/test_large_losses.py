"""What is too large or too rough for a fault run: a whole backlog lost by Redis, a full disk."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import envelope, queue
from jobs.submission import submit_many
from tests.support import http, sandbox
from tests.support.eventually import eventually
from tests.support.processes import free_port
from tests.support.world import World

BACKLOG = 20_000
CHUNK = 1000


def test_a_wiped_redis_has_a_backlog_of_20_000_back_within_seconds(world: World) -> None:
    request = envelope.parse({"type": "echo"}, client="alice", source="python")
    for _ in range(BACKLOG // CHUNK):
        submit_many([request] * CHUNK)
    world.scheduler()  # does the housekeeping, and runs nothing
    eventually(lambda: queue.broker().get("jobs:beat"), timeout_s=20)
    eventually(lambda: queue.broker().llen("rq:queue:default") >= BACKLOG, timeout_s=30)
    queue.broker().flushall()
    at = time.monotonic()
    eventually(lambda: queue.broker().llen("rq:queue:default") >= BACKLOG, timeout_s=30)
    took_s = time.monotonic() - at
    world.note(f"{BACKLOG} queued jobs were back {took_s:.2f} s after FLUSHALL")
    assert took_s < 20  # 5 on a quiet machine


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    done = (
        subprocess.run([mount, "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder]) if mount and not os.getuid() else None
    )
    if done is None or done.returncode:
        pytest.skip("only root can mount a small disk here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.skipif(sandbox.chosen_database() != "sqlite", reason="the database's own disk: SQLite's")
def test_a_full_disk_is_a_503_and_stores_nothing_by_halves(world: World, small_disk: Path) -> None:
    database = small_disk / "jobs.sqlite3"
    environment = {"DATABASE_URL": f"sqlite:///{database}"}
    assert world.run("migrate", **environment)[0] == 0
    code, words = world.run("apikey", "create", "alice", "--scopes", "jobs:create,jobs:read,jobs:all", **environment)
    assert code == 0, words
    key = next(word for word in words.split() if word.startswith("jk_") or len(word) > 40)
    port = free_port()
    world.manage("serve", "--port", str(port), **environment)
    url = f"http://127.0.0.1:{port}"

    def post(number: int) -> int:
        body = {"type": "echo", "payload": {"value": "x" * 20_000}, "idempotencyKey": f"key-{number}"}
        return http.call(url, "POST", "/api/jobs", body, key=key).status

    def is_live() -> bool:
        try:
            return http.call(url, "GET", "/health/live").status == 200
        except OSError:
            return False

    eventually(is_live, timeout_s=20)
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 600_000)
    statuses = [post(number) for number in range(300)]
    assert set(statuses) == {202, 503}, set(statuses)
    first_refused = statuses.index(503)
    ballast.unlink()
    eventually(lambda: post(first_refused) in (202, 200), timeout_s=20)
    with sqlite3.connect(database) as connection:
        (keys,) = connection.execute("SELECT count(*) FROM jobs_idempotencykey").fetchone()
        (found,) = connection.execute("SELECT count(*) FROM jobs_job").fetchone()
        (whole,) = connection.execute("PRAGMA integrity_check").fetchone()
    assert keys == found == statuses.count(202) + 1
    assert whole == "ok"
