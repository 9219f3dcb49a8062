"""Faults of neighbours: workers in PID namespaces of their own, as containers of one kernel are, and a rival on our Redis."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.support.eventually import eventually
from tests.support.processes import Process

if TYPE_CHECKING:
    from tests.chaos.faults import Stage

BOX = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
RIVALRY_S = 6.0
BOXED_S = 6.0


def why_not() -> str:
    """Why this machine can have no PID namespaces; empty: it can."""
    if shutil.which("unshare") is None:
        return "needs unshare"
    done = subprocess.run([*BOX, "true"], capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else ""


@contextlib.contextmanager
def _boxed(stage: Stage, count: int) -> Iterator[list[Process]]:
    import sys

    from tests.support.processes import ROOT

    program = [*BOX, sys.executable, str(ROOT / "manage.py")]
    found = []
    try:
        for number in range(count):
            arguments = ["rqworker", "--name", f"boxed-{number}-{stage.number}", "--horses", "1", "--concurrency", "2"]
            found.append(stage.site.process(f"boxed-{number}", arguments, {}, program))
        yield found
    finally:
        for box in found:
            box.destroy()


def containers(stage: Stage) -> None:
    """Two workers in namespaces of their own join; one is killed whole, one is told to stop."""
    from jobs.models import Lease

    with _boxed(stage, 2) as boxes:
        names = [f"boxed-{number}-{stage.number}" for number in range(2)]
        live = Lease.objects.filter(worker__in=names, revoked_at=None, horse_pid__isnull=False)
        eventually(lambda: live.count() == 2, timeout_s=40, every_s=0.1)
        time.sleep(BOXED_S)  # some turns of housekeeping
        boxes[0].kill()
        for pid in boxes[1].children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        boxes[1].wait(40)


def rival(stage: Stage) -> None:
    """Another environment works on the same Redis and database number for a while: our jobs go on."""
    from jobsite import broker
    from tests.chaos.rows import others_go_on

    environment = {
        "DATABASE_URL": stage.site.rival_url(), "REDIS_URL": broker.url(stage.site.folder),
        "JOBS_DATA_DIR": str(stage.site.folder / "rival"),
    }  # fmt: skip
    other = stage.site.process("rival", ["rqworker", "--name", "rival", "--horses", "1"], environment)
    try:
        other.says("serves", timeout_s=40)
        time.sleep(RIVALRY_S)  # some turns of both
        others_go_on(stage, "rival")
    finally:
        other.send(signal.SIGTERM)
        other.wait(40)


KINDS = (containers, rival)
