"""Redis behind Sentinel: a failover to a replica that never got the latest writes loses no job and doubles none."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path

import pytest
from django.conf import LazySettings

from jobs.models import Event
from jobsite import services
from jobsite.environment import Environment
from tests.chaos import sentinels
from tests.chaos.certificates import OPENSSL
from tests.real.test_broker_lost import assert_mirror_agrees
from tests.real.watching import all_reached, assert_lawful
from tests.support.eventually import eventually
from tests.support.world import World

pytestmark = pytest.mark.skipif(
    not (sentinels.SERVER and sentinels.SENTINEL), reason="needs redis-server and redis-sentinel"
)

BUDGET_S = 0.5
LIST = "rq:queue:default"


def post(world: World, count: int, **payload: object) -> list[uuid.UUID]:
    answers = [world.call("POST", "/api/jobs", {"type": "echo", "payload": payload}) for _ in range(count)]
    assert {answer.status for answer in answers} == {202}, answers
    return [uuid.UUID(answer.json()["id"]) for answer in answers]


@pytest.mark.parametrize(
    "returns", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["", "old primary returns"]
)
def test_a_failover_that_loses_writes_loses_no_job_and_doubles_none(
    world: World, tmp_path: Path, settings: LazySettings, returns: bool
) -> None:
    with sentinels.running(tmp_path) as topology:
        behind = topology.environment() | {"JOBS_BROKER_BUDGET_S": str(BUDGET_S)}
        stated = Environment(
            _env_file=None,
            redis_sentinels=behind["REDIS_SENTINELS"],
            redis_sentinel_service=behind["REDIS_SENTINEL_SERVICE"],
        )
        settings.JOBS_BROKER_BUDGET_S = 5.0
        settings.RQ_QUEUES = {"default": services.rq_queue(stated, "")}
        world.serve(**behind)
        world.worker("--concurrency", "2", **behind)
        ids = post(world, 12, effect="charge", sleepSeconds=0.3)
        replica = topology.redis(topology.replica)
        eventually(lambda: replica.llen(LIST), timeout_s=10)  # ids that will have run when they are seen again
        topology.cut_replication()
        lost = post(world, 12, effect="charge", sleepSeconds=0.1)
        eventually(lambda: Event.objects.filter(event="succeed").count() >= 4)
        assert replica.exists(*(f"rq:job:{job_id}" for job_id in lost)) == 0
        topology.kill(topology.primary)
        at = time.monotonic()
        meanwhile = post(world, 6, effect="charge")
        eventually(lambda: replica.role()[0] == b"master", timeout_s=20, every_s=0.05)
        failover_s = time.monotonic() - at
        after = post(world, 3, effect="charge")
        all_reached([*ids, *lost, *meanwhile, *after], "succeeded", timeout_s=40)
        world.note(f"failover after {failover_s:.1f} s, all jobs done after {time.monotonic() - at:.1f} s")
        everything = [*ids, *lost, *meanwhile, *after]
        assert_mirror_agrees(everything)
        assert replica.exists(*(f"jobs:status:{job_id}" for job_id in everything)) == len(everything)
        assert Event.objects.filter(event="start").count() == len(everything) == len(world.ledger())
        assert_lawful(world)
        if returns:  # as a primary, with none of what has happened, until the Sentinels see it
            topology.start_server(topology.primary)
            eventually(lambda: topology.redis(topology.primary).role()[0] == b"slave", timeout_s=30, every_s=0.05)
            last = post(world, 2, effect="charge")
            all_reached(last, "succeeded")
            assert_mirror_agrees(last)
        world.stop()


@pytest.mark.skipif(not OPENSSL, reason="needs openssl")
def test_sentinels_and_primary_may_want_passwords_and_tls(world: World, tmp_path: Path, certificates: Path) -> None:
    with sentinels.running(tmp_path, certificates) as topology:
        behind = topology.environment()
        world.serve(**behind)
        world.worker(**behind)
        (job_id,) = post(world, 1)
        all_reached([job_id], "succeeded")
        primary = topology.redis(topology.primary)
        eventually(lambda: primary.exists(f"jobs:status:{job_id}", "jobs:beat") == 2)
        assert primary.scard("rq:workers") == 1
        found = json.loads(world.ask("doctor", "--json", **behind).stdout)["findings"]
        assert {one["level"] for one in found if one["probe"] == "broker"} == {"ok"}, found
        stranger = {**behind, "REDIS_SENTINELS": behind["REDIS_SENTINELS"].replace("/ca.crt", "/stranger.crt")}
        found = json.loads(world.ask("doctor", "--json", **stranger).stdout)["findings"]
        assert {one["level"] for one in found if one["probe"] == "broker"} == {"failure"}, found
        world.stop()
