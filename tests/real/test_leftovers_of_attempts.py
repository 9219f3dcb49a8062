"""The end of an attempt is the end of all that it started, however the attempt ended and however that hides."""

from __future__ import annotations

import os
import signal
import sys
import uuid
from functools import partial
from pathlib import Path

import pytest

from jobs import operate
from jobs.lifecycle import Actor
from jobs.lifecycle import Event as Events
from jobs.models import Event
from tests.real.watching import horse_pid, is_gone, kill, reached, submit
from tests.support.eventually import eventually
from tests.support.processes import ROOT, Process
from tests.support.world import World

WAYS = ["child", "grandchild", "session", "orphan", "clean", "fork", "thread"]


def pids_in(file: Path) -> list[int]:
    return [int(word) for word in file.read_text().split()] if file.exists() else []


def is_over(job_id: uuid.UUID) -> bool:
    """Whether the first attempt is over."""
    return Event.objects.filter(
        job=job_id, event__in=set(Events) - {Events.SUBMIT, Events.START, Events.REQUEST_CANCEL}
    ).exists()


def assert_all_gone(file: Path) -> None:
    pids = pids_in(file)
    assert pids, "nothing was left behind"
    left = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in pids if not is_gone(pid)}
    assert not left


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("end", ["return", "raise", "kill"])
def test_nothing_of_an_isolated_attempt_outlives_it(world: World, tmp_path: Path, way: str, end: str) -> None:
    world.worker()
    file = tmp_path / "pids"
    job_id = submit("test-leave-apart", leave=way, end=end, pids=str(file))
    eventually(lambda: is_over(job_id), timeout_s=60, every_s=0.01)
    assert_all_gone(file)  # once the outcome is known, and so before any next attempt


@pytest.mark.parametrize("end", ["timeout", "cancel", "horse", "worker"])
@pytest.mark.parametrize("kind", ["test-leave", "test-leave-apart"])
def test_nothing_outlives_what_ends_an_attempt_from_outside(world: World, tmp_path: Path, kind: str, end: str) -> None:
    """The other worker repairs what is left of the first."""
    worker = world.worker("--name", "first", JOBS_HARD_TIMEOUT_EXTRA_S="1", JOBS_QUEUES="high default low")
    horse = horse_pid("first")
    files = {way: tmp_path / way for way in WAYS}
    if kind == "test-leave":
        del files["clean"]  # nothing tells whose it is
        if end in ("timeout", "cancel"):
            del files["fork"]  # the pipes of other handlers, which start programs meanwhile, are open in it
    limit_s = 8 if end == "timeout" else None
    ids = [submit(kind, leave=way, end="wait", pids=str(file), timeout_s=limit_s) for way, file in files.items()]
    eventually(lambda: all(pids_in(file) for file in files.values()), timeout_s=60)
    if end == "cancel":
        for job_id in ids:
            operate.cancel(job_id, actor=Actor.OPERATOR, who="test")
    elif end == "horse":
        kill(horse)
    elif end == "worker":
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
        world.worker("--name", "second")
    for job_id in ids:
        eventually(partial(is_over, job_id), timeout_s=60)
    if kind == "test-leave" and end in ("timeout", "cancel"):  # the kernel no longer tells whose these are
        for way in ("orphan", "thread"):
            files.pop(way)
            (tmp_path / way).unlink()  # it ends by that
    for file in files.values():
        assert_all_gone(file)


@pytest.mark.parametrize("end", ["return", "raise"])
@pytest.mark.parametrize("way", ["child", "grandchild", "session"])
def test_what_the_thread_of_a_plain_handler_started_ends_with_the_attempt(
    world: World, tmp_path: Path, way: str, end: str
) -> None:
    world.worker()
    horse = horse_pid()
    file = tmp_path / "pids"
    job_id = submit("test-leave", leave=way, end=end, pids=str(file))
    eventually(lambda: is_over(job_id), timeout_s=60, every_s=0.01)
    assert_all_gone(file)
    reached(job_id, "succeeded", timeout_s=60)
    assert horse_pid() == horse


def test_the_first_process_of_a_container_reaps_and_passes_signals_on(world: World, tmp_path: Path) -> None:
    """A PID namespace is what a container has; without the right to make one there is nothing to see."""
    if os.geteuid() != 0:
        pytest.skip("making a PID namespace takes root")
    inside = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, str(ROOT / "manage.py")]
    worker = Process(["rqworker"], world.environment({}), tmp_path / "log", executable=inside)
    world.processes.append(worker)
    ids = [submit("test-orphan") for _ in range(10)]
    for job_id in ids:
        reached(job_id, "succeeded", timeout_s=60)
    (first,) = (int(pid) for pid in Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split())

    def zombies() -> list[int]:
        found = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        return [int(pid) for pid in found if is_gone(int(pid))]

    eventually(lambda: not zombies(), timeout_s=10)
    os.kill(first, signal.SIGTERM)
    assert worker.wait(60) == 0, worker.log
    assert "stopped" in worker.log
