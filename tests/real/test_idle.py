"""What a worker that waits for work holds in memory: what it runs jobs with, and nothing of what serves pages."""

from __future__ import annotations

from pathlib import Path

from tests.real.watching import descendants
from tests.support.world import World

PAGES = ("jobs.admin", "jobs.api", "jobsite.urls", "rest_framework.views", "drf_spectacular.openapi", "django.test")
"""For the admin and the API: 15 MB of the parent's memory and 2 of the horse's, were they loaded."""

MOST_MB = 130
"""Memory of parent and horse that they share with nobody. Measured: 103 with SQLite, 113 with PostgreSQL."""


def test_a_worker_loads_nothing_that_only_pages_need(world: World) -> None:
    code, said = world.run("rqworker", "--burst", PYTHONPROFILEIMPORTTIME="1")
    assert code == 0, said
    loaded = [line.rpartition("|")[2].strip() for line in said.splitlines() if line.startswith("import time:")]
    assert loaded.count("jobs.rows") == 2, "of parent and horse, which were both to tell what they load"
    assert [name for name in loaded if f"{name}.".startswith(tuple(f"{page}." for page in PAGES))] == []


def test_a_worker_that_waits_keeps_to_its_memory(world: World) -> None:
    worker = world.worker()
    worker.says("is ready")
    processes = [worker.pid, *descendants(worker.pid)]
    assert len(processes) == 2
    own_kb = sum(map(_own_kb, processes))
    world.note(f"parent and horse have {own_kb / 1024:.0f} MB to themselves")
    assert own_kb / 1024 < MOST_MB


def test_a_worker_refuses_settings_that_cannot_work(world: World) -> None:
    for command in ("rqworker", "rqscheduler", "rqworker-pool"):
        code, said = world.run(command, JOBS_LEASE_S="8")
        assert (code, "jobs.E003" in said) == (1, True), said


def _own_kb(pid: int) -> int:
    """Private pages that were written to: what a library's file is mapped for costs nobody twice."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:"))
