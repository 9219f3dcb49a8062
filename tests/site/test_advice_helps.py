"""Advice is followed as it is printed, by somebody who thinks nothing of it, until there is no more."""

from __future__ import annotations

import re
import shlex

import pytest

import jobs
from jobs import doctor, operate, queue, schedules, why
from jobs.conf import conf
from jobs.lifecycle import Status
from jobs.models import Job, Schedule
from tests.support.eventually import eventually
from tests.support.factory import make_job
from tests.support.world import World

ADVICE = re.compile(r"python manage\.py ([^`;>]+)")
STAYS = ("rqworker", "rqscheduler")
"""Commands that run until they are stopped."""


def follow(world: World, advice: str, *, alternative: int = 0) -> str:
    """Run the command that the advice names; the words."""
    words = shlex.split(ADVICE.findall(advice)[alternative].strip())
    if words[0] == "rqworker":
        world.worker(*words[1:])
    elif words[0] in STAYS:
        world.manage(*words)
    else:
        code, output = world.run(*words)
        assert code == 0, output
    return " ".join(words)


def advice_for(job_id: object) -> str:
    job = Job.objects.get(pk=job_id)
    said = why.waiting(job)
    return "" if said is None else said["nextStep"]


def wait_until_done(world: World, job_id: object) -> None:
    eventually(lambda: Job.objects.get(pk=job_id).status == "succeeded", timeout_s=30)


@pytest.mark.parametrize("alternative", [0, 1])
def test_the_advice_for_a_waiting_job_makes_it_run(world: World, settings, alternative: int) -> None:
    named = conf().queues
    settings.JOBS_QUEUES = (*named, "old-queue")
    job_id = jobs.submit("echo", queue="old-queue").id
    settings.JOBS_QUEUES = named
    operate.pause_queue("old-queue", "alice")
    assert follow(world, advice_for(job_id)) == "queues resume old-queue"
    done = follow(world, advice_for(job_id), alternative=alternative)
    assert done == ["rqworker old-queue", "queues move old-queue high"][alternative]
    if alternative:
        assert follow(world, advice_for(job_id)) == "rqworker high"
    wait_until_done(world, job_id)


def test_workers_that_rq_suspended_go_on_as_why_says(world: World) -> None:
    queue.broker().set(queue.SUSPENDED, 1)
    world.worker()
    job_id = jobs.submit("echo").id
    assert follow(world, advice_for(job_id)) == "queues unsuspend"
    wait_until_done(world, job_id)


def test_an_effect_in_doubt_is_settled_as_why_says(world: World) -> None:
    job = make_job(Status.IN_DOUBT)
    follow(world, advice_for(job.pk))
    assert Job.objects.get(pk=job.pk).status == "queued"


NAMES = {"suspended", "no-worker", "no-scheduler", "queue-unserved", "queue-unlisted", "queue-paused"}
"""What was wrong. Others, such as a slow Redis, may be true of a busy machine."""


@pytest.mark.timeout(300)  # it starts a process for each advice, and machines may be busy
def test_whoever_follows_doctor_is_healthy_in_the_end(world: World) -> None:
    schedules.store(Schedule(name="hourly", type="echo", cron="@hourly"), who="alice")
    make_job(Status.QUEUED, queue="old-queue")
    operate.pause_queue("low", "alice")
    queue.broker().set(queue.SUSPENDED, 1)
    followed: set[str] = set()
    while advice := [fix for fix in fixes() if fix not in followed]:
        followed.add(advice[0])
        follow(world, advice[0])
    assert len(followed) >= 5
    eventually(lambda: fixes() == [], timeout_s=60, every_s=0.5)
    eventually(lambda: Job.objects.get(queue="old-queue").status == "succeeded", timeout_s=60)
    left = [finding for finding in doctor.run_all() if finding.level == "failure" or finding.name in NAMES]
    assert left == []


def fixes() -> list[str]:
    """Commands that doctor advises now. What is to be left to a worker that is there needs none."""
    found = [finding.fix for finding in doctor.run_all()]
    return [fix for fix in found if ADVICE.search(fix) and not fix.startswith("leave it to its worker")]
