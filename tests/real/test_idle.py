"""What a worker that waits for work holds in memory: what it runs jobs with, and nothing of what serves pages."""

from __future__ import annotations

from pathlib import Path

from tests.real.watching import descendants
from tests.support.world import World

PAGES = ("jobs.admin", "jobs.api", "jobsite.urls", "rest_framework.views", "drf_spectacular.openapi", "django.test")
"""For the admin and the API: 15 MB of the parent's memory and 2 of the horse's, were they loaded."""

MOST_MB = 90
"""Memory of parent and horse, what they share counted once. Measured: 70 with SQLite, 75 with PostgreSQL; 103 and 113
when the horse was a program of its own."""


def test_a_worker_loads_nothing_that_only_pages_need(world: World) -> None:
    code, said = world.run("rqworker", "--burst", PYTHONPROFILEIMPORTTIME="1")
    assert code == 0, said
    loaded = [line.rpartition("|")[2].strip() for line in said.splitlines() if line.startswith("import time:")]
    assert {"jobs.worker", "jobs.horse"} <= {*loaded}, "parent and horse were both to tell what they load"
    assert [name for name in loaded if f"{name}.".startswith(tuple(f"{page}." for page in PAGES))] == []


def test_a_worker_that_waits_keeps_to_its_memory(world: World) -> None:
    worker = world.worker()
    worker.says("is ready")
    processes = [worker.pid, *descendants(worker.pid)]
    assert len(processes) == 2
    taken_mb = sum(map(_anonymous_kb, processes)) / 1024
    world.note(f"parent and horse take {taken_mb:.0f} MB")
    assert taken_mb < MOST_MB


def test_a_worker_refuses_settings_that_cannot_work(world: World) -> None:
    for command in ("rqworker", "rqscheduler", "rqworker-pool"):
        code, said = world.run(command, JOBS_LEASE_S="8")
        assert (code, "jobs.E003" in said) == (1, True), said


def _anonymous_kb(pid: int) -> int:
    """What is in no file: a library that is mapped costs nobody twice."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:"))
