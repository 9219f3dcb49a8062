"""Every fail-point, one by one: whatever happens to a process just there, all jobs end and every law holds.

Kills and lost replies always; errors, stops and delays with `-m slow`. Leases are shortened to 4 s.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
import uuid
from collections.abc import Iterator

import pytest

import jobs
from jobs import failpoints, process
from jobs.models import Effect, Job, Schedule
from jobs.schedules import editing
from tests.real.watching import assert_lawful, echo, horse_pid, kill
from tests.support.eventually import eventually
from tests.support.world import World

SHORT = {"JOBS_LEASE_S": "4", "JOBS_RENEW_S": "1"}
STOPPED_S = 1.5

POINTS = {
    area: [name for name in failpoints.NAMES if name.partition(".")[0] in prefixes]
    for area, prefixes in {
        "api": ("submit", "push"),
        "worker": ("claim", "run", "effect", "finish", "renew", "expire"),
        "scheduler": ("tick",),
    }.items()
}


def cases(area: str) -> list[object]:
    return [
        pytest.param(name, action, id=f"{name}-{action}", marks=[] if action in ("kill", "drop") else pytest.mark.slow)
        for name in POINTS[area]
        for action in failpoints.ACTIONS
    ]


def test_every_point_is_exercised() -> None:
    assert sorted(name for names in POINTS.values() for name in names) == sorted(failpoints.NAMES)


@pytest.fixture(autouse=True)
def _nothing_acted_yet(world: World) -> Iterator[None]:
    folder = world.data_dir / failpoints.FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    yield
    shutil.rmtree(folder, ignore_errors=True)


def acted(world: World, name: str) -> int:
    """The process in which the point acted, as soon as it did; what was stopped goes on after a while."""
    path = world.data_dir / failpoints.FOLDER / name
    pid = int(eventually(lambda: path.exists() and path.read_text(), timeout_s=30))
    if process.state(pid) == "T":
        time.sleep(STOPPED_S)
        os.kill(pid, signal.SIGCONT)
    return pid


def assert_all_ended(world: World, ids: list[uuid.UUID]) -> None:
    def is_quiet() -> bool:
        left = list(Job.objects.filter(status__in=("scheduled", "queued", "running")).values_list("id", "status"))
        assert not left
        return True

    eventually(is_quiet, timeout_s=45, every_s=0.1)
    assert Job.objects.filter(pk__in=ids).count() == len(ids)
    assert_lawful(world)
    lines = {line[0] for line in world.ledger()}
    for effect in Effect.objects.all():
        assert effect.status in ("done", "in_doubt", "not_done")
        if effect.status == "done" and effect.settled_by != "policy":
            assert str(effect.job_id) in lines


@pytest.mark.parametrize(("name", "action"), cases("api"))
def test_an_api_that_fails_anywhere_loses_and_doubles_no_job(world: World, name: str, action: str) -> None:
    api = world.serve(JOBS_FAIL=f"{name}:2:{action}")
    answers: dict[str, str] = {}
    for number in range(6):
        body = {"type": "echo", "payload": {"value": number}, "idempotencyKey": f"key-{number}"}

        def answered(body: dict[str, object] = body) -> str | None:
            nonlocal api
            try:
                reply = world.call("POST", "/api/jobs", body, timeout_s=5)
            except OSError:
                if not api.is_alive:
                    api = world.serve()
                elif process.state(api.pid) == "T":
                    os.kill(api.pid, signal.SIGCONT)
                return None
            # An error that nobody expects is the only excuse for anything but 503.
            assert reply.status in (200, 202, 503) or (action == "raise" and reply.status == 500)
            return str(reply.json()["id"]) if reply.status < 300 else None

        answers[f"key-{number}"] = str(eventually(answered, timeout_s=30))
    acted(world, name)
    world.worker(**SHORT)
    assert_all_ended(world, [uuid.UUID(job_id) for job_id in answers.values()])
    assert {job.key: str(job.id) for job in Job.objects.all()} == answers
    assert set(Job.objects.values_list("status", flat=True)) == {"succeeded"}


@pytest.mark.parametrize(("name", "action"), cases("worker"))
def test_a_worker_that_fails_anywhere_loses_no_job_and_repeats_no_effect(world: World, name: str, action: str) -> None:
    nth = 3 if name.startswith(("claim", "run", "finish")) else 1
    world.worker("--name", "armed", JOBS_FAIL=f"{name}:{nth}:{action}", **SHORT)
    ids = [echo(sleepSeconds=0.3) for _ in range(4)]
    ids += [echo(effect="charge", onDoubt=policy) for policy in ("hold", "skip", "repeat")]
    ids += [jobs.submit("echo", {"sleepSeconds": 3}).id]
    if name.startswith("expire"):
        eventually(lambda: Job.objects.filter(status="running").exists(), timeout_s=20)
        kill(horse_pid())
    else:
        time.sleep(0.3)  # those that follow come in turns of their own
        ids += [echo(value=number) for number in range(3)]
    acted(world, name)
    world.worker("--name", "other", **SHORT)
    assert_all_ended(world, ids)
    for job in Job.objects.filter(status="in_doubt"):
        assert job.payload["onDoubt"] == "hold"
    assert not Job.objects.filter(status__in=("failed", "cancelled")).exists()


@pytest.mark.parametrize(("name", "action"), cases("scheduler"))
def test_a_scheduler_that_fails_anywhere_misses_and_doubles_no_slot(world: World, name: str, action: str) -> None:
    editing.store(Schedule(name="each-second", type="echo", every_s=1, catch_up="all"), who="test")
    world.scheduler(JOBS_FAIL=f"{name}:2:{action}")
    acted(world, name)
    world.scheduler()
    world.worker(**SHORT)
    eventually(lambda: Job.objects.filter(key__startswith="schedule:").count() >= 5, timeout_s=30)
    Schedule.objects.update(enabled=False)
    time.sleep(1.5)  # a tick that has begun
    assert_all_ended(world, [])
    slots = sorted(Job.objects.filter(key__startswith="schedule:each-second").values_list("key", flat=True))
    assert len(slots) == len(set(slots))
    seconds = [int(time.mktime(time.strptime(slot.rpartition(":each-second:")[2][:19], "%Y-%m-%dT%H:%M:%S"))) for slot in slots]  # fmt: skip
    assert seconds == list(range(seconds[0], seconds[0] + len(seconds)))
