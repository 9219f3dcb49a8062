"""A project's `CACHES` are its own: whatever they are, everything of the job system works."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from jobs import queue
from tests.real.watching import reached
from tests.support.eventually import eventually
from tests.support.foreign_project import Theirs
from tests.support.world import World

CACHES = {
    "none stated": "",
    "LocMem": '{"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}',
    "Dummy": '{"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}',
    "files": '{"default": {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": "/dev/null/no"}}',
    "Django's Redis": '{"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://127.0.0.1:1"}}',
    "a backend that is not there": '{"default": {"BACKEND": "nowhere.Cache"}}',
    "no default": "{}",
}
WAYS = {
    "JOBS_REDIS_URL": "JOBS_REDIS_URL = REDIS['URL']\nRQ_QUEUES = {}\n",
    "RQ_QUEUES": "",
    "a socket": "RQ_QUEUES = {'default': {'UNIX_SOCKET_PATH': REDIS['URL'].split('//')[1].split('?')[0], 'DB': 0}}\n",
    "decoded texts": "JOBS_REDIS_URL = REDIS['URL'] + '&decode_responses=true&retry_on_timeout=true&protocol=2'\n",
}


def run(theirs: Theirs) -> None:
    found = theirs.python("""
import jobs
from django.db import transaction
with transaction.atomic():
    inside = jobs.submit("echo", {"value": 1}, key="k").id
replay = jobs.submit("echo", {"value": 1}, key="k").id
answer([inside, replay, jobs.submit("echo", {"value": 2}).id])""")
    assert found[0] == found[1]
    assert "could not do" not in theirs.log
    assert "did not take" not in theirs.log
    assert queue.broker().llen("rq:queue:default") == 2
    code, log = theirs.run("rqworker", "--burst")
    assert code == 0, log
    assert "Traceback" not in log
    for job_id in found:
        reached(uuid.UUID(job_id), "succeeded")


@pytest.mark.parametrize("caches", CACHES)
def test_a_project_with_any_cache_has_its_jobs_run(world: World, tmp_path: Path, caches: str) -> None:
    run(Theirs(tmp_path, world, f"CACHES = {CACHES[caches]}\n" if CACHES[caches] else ""))


@pytest.mark.parametrize("way", WAYS)
def test_redis_is_found_however_the_project_names_it(world: World, tmp_path: Path, way: str) -> None:
    theirs = Theirs(tmp_path, world, WAYS[way])
    run(theirs)
    scheduler = theirs.manage("rqscheduler")
    eventually(lambda: queue.broker().keys("rq:scheduler_instance:*"), timeout_s=20)
    assert scheduler.stop(10) == 0, scheduler.log
    assert "Traceback" not in scheduler.log
