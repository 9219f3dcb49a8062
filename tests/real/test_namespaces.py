"""Workers in PID namespaces of their own, as containers of one machine are, and a second database on the same Redis."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from jobs import mirror, owner, process, queue
from jobs.models import Housekeeping, Lease
from jobsite import broker
from tests.chaos import boxes
from tests.real.watching import all_reached, echo
from tests.support import sandbox
from tests.support.eventually import eventually
from tests.support.processes import ROOT, Process
from tests.support.world import World


def boxed(world: World, number: int) -> Process:
    log = world.data_dir / "logs" / f"boxed-{number}.log"
    log.parent.mkdir(exist_ok=True)
    log.unlink(missing_ok=True)
    program = [*boxes.BOX, sys.executable, str(ROOT / "manage.py")]
    found = Process(["rqworker", "--name", f"boxed-{number}", "--horses", "1"], world.environment(), log, program)
    world.processes.append(found)
    return found


@pytest.mark.skipif(not process.IS_LINUX or bool(boxes.why_not()), reason="no PID namespaces")
def test_workers_in_pid_namespaces_of_their_own_share_the_housekeeping(world: World) -> None:
    workers = [boxed(world, number) for number in range(3)]
    eventually(lambda: Lease.objects.filter(horse_pid__isnull=False).count() == 3, timeout_s=60)
    eventually(lambda: Housekeeping.objects.filter(beat__gte=2).exists(), timeout_s=20)
    holder = Housekeeping.objects.get().holder
    beat = Housekeeping.objects.get().beat
    eventually(lambda: Housekeeping.objects.get().beat >= beat + 6, timeout_s=60)
    assert Housekeeping.objects.get().holder == holder
    assert Housekeeping.objects.get().epoch == 1
    assert all("is over" not in worker.log and "filled" not in worker.log for worker in workers)
    all_reached([echo() for _ in range(5)], "succeeded")


def test_a_second_database_on_the_same_redis_works_without_it(world: World, tmp_path: Path) -> None:
    first = world.worker()
    eventually(lambda: queue.broker().get(owner.MARK), timeout_s=20)
    mark = queue.broker().get(owner.MARK)
    other = {
        "DATABASE_URL": f"sqlite:///{tmp_path / 'other.sqlite3'}",
        "REDIS_URL": broker.url(sandbox.folder()),
        "JOBS_DATA_DIR": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "jobsite.settings",
    }
    code, said = world.run("migrate", **other)
    assert code == 0, said
    second = world.manage("rqworker", **other)
    eventually(lambda: "serve another database" in second.log, timeout_s=40)
    ours = [echo(sleepSeconds=0.1) for _ in range(20)]
    for _ in range(3):
        code, said = world.run("enqueue_system_job", "health-check", "--wait", "60", **other)
        assert code == 0, said
    all_reached(ours, "succeeded")
    assert queue.broker().get(owner.MARK) == mark
    assert queue.broker().get(mirror.EPOCH) is None
    assert Housekeeping.objects.get().epoch == 1
    for worker in (first, second):
        assert "filled" not in worker.log, worker.log
    assert second.log.count("serve another database") == 1
