"""Every fail-point with every action, one by one and in pairs: whatever happens to a process just there, all jobs
end and every law holds.

| area | points | kill | drop | raise | stop | sleep |
|---|---|---|---|---|---|---|
| API | submit.*, push.* | always | always | slow | slow | slow |
| worker | claim.*, run.*, effect.*, finish.*, renew.*, expire.* | always | always | slow | slow | slow |
| scheduler | tick.* | always | always | slow | slow | slow |

17 points by 5 actions, 85 cases, on SQLite and on PostgreSQL (`JOBS_TEST_DATABASE=postgres`); "slow" is run by
`-m slow`. Pairs are thrown by dice whose seed is in the test's name: two always, twenty more by `-m slow`. One system
stands for all of them (`standing.py`); only the process that is to fail is started for each.
"""

from __future__ import annotations

import datetime as dt
import random
import time
import uuid

import pytest
from django.utils import timezone

from jobs import failpoints
from jobs.models import IdempotencyKey, Job, Schedule
from jobs.schedules import editing
from tests.chaos.standing import System, _system
from tests.real.watching import horse_pid, kill
from tests.support.eventually import eventually

system = _system

ALWAYS = ("kill", "drop")
NTH = {"claim": 3, "run": 3, "finish": 3, "renew": 2}
"""Which passage acts, where it is not the first: by then other jobs are under way."""

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
        pytest.param(name, action, id=f"{name}-{action}", marks=[] if action in ALWAYS else pytest.mark.slow)
        for name in POINTS[area]
        for action in failpoints.ACTIONS
    ]


def test_every_point_is_exercised() -> None:
    assert sorted(name for names in POINTS.values() for name in names) == sorted(failpoints.NAMES)


@pytest.fixture(autouse=True)
def clean_broker(system: System) -> None:
    """Instead of the fixture of this name that wipes Redis: a system is at work on it."""
    system.forget()


@pytest.mark.parametrize(("name", "action"), cases("api"))
def test_an_api_that_fails_anywhere_loses_and_doubles_no_job(system: System, name: str, action: str) -> None:
    run, answers = uuid.uuid4().hex, {}
    with system.armed_api(f"{name}:2:{action}") as api:
        for number in range(6):
            key = f"{run}-{number}"
            body = {"type": "echo", "payload": {"value": number}, "idempotencyKey": key}

            def answered(body: dict[str, object] = body) -> str | None:
                try:
                    reply = system.world.call("POST", "/api/jobs", body, timeout_s=5)
                except OSError:
                    system.go_on()
                    if not api.is_alive:
                        system.world.url = system.url
                    return None
                # An error that nobody expects is the only excuse for anything but 503.
                assert reply.status in (200, 202, 503) or (action == "raise" and reply.status == 500)
                return str(reply.json()["id"]) if reply.status < 300 else None

            answers[key] = str(eventually(answered, timeout_s=30))
        system.acted(name)
        system.assert_all_ended([uuid.UUID(job_id) for job_id in answers.values()])
    found = Job.objects.filter(key__startswith=run)
    assert {job.key: str(job.id) for job in found} == answers
    assert IdempotencyKey.objects.filter(key__startswith=run).count() == len(answers)


@pytest.mark.parametrize(("name", "action"), cases("worker"))
def test_a_worker_that_fails_anywhere_loses_no_job_and_repeats_no_effect(
    system: System, name: str, action: str
) -> None:
    nth = NTH.get(name.partition(".")[0], 1)
    with system.armed_worker(f"{name}:{nth}:{action}") as armed:
        ids = system.some_jobs()
        if name.startswith("expire"):
            _kill_a_horse_until_it_acts(system, armed.arguments[-1], name)
        if system.acted(name) == armed.pid and action in ("kill", "raise"):
            with system.armed_worker():  # a parent that died of it is started again by whoever started it
                system.assert_all_ended(ids)
        else:
            system.assert_all_ended(ids)


def _kill_a_horse_until_it_acts(system: System, worker: str, name: str) -> None:
    """Its parent ends the lease, and acts there; unless the housekeeper, who is not armed, was quicker."""
    for _ in range(5):
        job_id = system.submit(sleepSeconds=1)
        eventually(lambda job_id=job_id: Job.objects.get(pk=job_id).status == "running", timeout_s=30)  # type: ignore[misc]
        kill(horse_pid(worker))
        eventually(lambda job_id=job_id: Job.objects.get(pk=job_id).attempt > 1 or system.has_acted(name), timeout_s=30)  # type: ignore[misc]
        if system.has_acted(name):
            return


@pytest.mark.parametrize(("name", "action"), cases("scheduler"))
def test_a_scheduler_that_fails_anywhere_misses_and_doubles_no_slot(system: System, name: str, action: str) -> None:
    schedule = f"each-second-{uuid.uuid4().hex[:8]}"
    created = Job.objects.filter(key__startswith=f"schedule:{schedule}:")
    editing.store(Schedule(name=schedule, type="echo", every_s=1, catch_up="all"), who="test")
    with system.armed_scheduler(f"{name}:2:{action}"):
        system.acted(name)
        if action == "raise":  # a schedule that fails is put off, longer than anybody wants to wait here
            late = Schedule.objects.filter(name=schedule, due_at__gt=timezone.now() + dt.timedelta(seconds=10))
            eventually(lambda: late.update(due_at=timezone.now()), timeout_s=15)
        with system.armed_scheduler() as healthy:
            eventually(lambda: created.count() >= 4, timeout_s=30)
            Schedule.objects.filter(name=schedule).update(enabled=False)
            healthy.stop()
    system.assert_all_ended(list(created.values_list("id", flat=True)))
    slots = sorted(str(key).rpartition(f":{schedule}:")[2] for key in created.values_list("key", flat=True))
    seconds = [int(time.mktime(time.strptime(slot[:19], "%Y-%m-%dT%H:%M:%S"))) for slot in slots]
    assert seconds == list(range(seconds[0], seconds[0] + len(seconds)))


@pytest.mark.parametrize("seed", [1, 2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 23))])
def test_a_worker_that_fails_at_two_points_loses_no_job_and_repeats_no_effect(system: System, seed: int) -> None:
    dice = random.Random(seed)
    names = dice.sample(POINTS["worker"], 2)  # `push` is passed by who keeps house, which another process may do
    points = [f"{name}:{dice.randrange(1, 4)}:{dice.choice(failpoints.ACTIONS)}" for name in names]
    system.world.note(f"seed {seed}: {' '.join(points)}")
    with system.armed_worker(*points) as armed:
        ids = system.some_jobs()
        eventually(lambda: system.has_any_acted() or not armed.is_alive, timeout_s=30)
        if dice.random() < 0.5:
            ids.append(system.submit(sleepSeconds=1))
        with system.armed_worker():
            system.assert_all_ended(ids)
