"""Redis killed, wiped, robbed, filled with rubbish or away: no job is lost, none runs twice."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Sequence

import pytest

from jobs import envelope, mirror, operate, queue, submission
from jobs.models import Event, Job
from jobs.reconcile import Housekeeper
from tests.real.watching import all_reached, echo, reached, starts
from tests.support.eventually import eventually
from tests.support.world import World

LIST = "rq:queue:default"


def many(count: int) -> list[uuid.UUID]:
    ids = []
    for start in range(0, count, 1000):
        bodies = [{"type": "echo", "payload": {"value": n}} for n in range(start, min(start + 1000, count))]
        outcomes = submission.submit_many([envelope.parse(body, client="system", source="python") for body in bodies])
        ids += [one.id for one in outcomes if isinstance(one, submission.Submitted)]
    return ids


def assert_each_ran_once(ids: Sequence[uuid.UUID]) -> None:
    assert Event.objects.filter(job_id__in=ids, event="start").count() == len(ids)


def assert_mirror_agrees(ids: Sequence[uuid.UUID]) -> None:
    """I9, after quiet."""

    def look() -> bool:
        for job_id in ids:
            entry = mirror.peek(job_id)
            assert entry is not None
            assert entry.status["status"] == Job.objects.get(pk=job_id).status
        return True

    eventually(look, timeout_s=30, every_s=0.2)


def test_a_wiped_redis_with_200_queued_jobs_loses_none(world: World) -> None:
    world.worker("--concurrency", "2")
    ids = [echo(sleepSeconds=0.02) for _ in range(200)]
    queue.broker().flushall()
    at = time.monotonic()
    eventually(lambda: int(queue.broker().llen(LIST)) > 0 or not Job.objects.filter(status="queued").exists())
    world.note(f"200 queued, wiped: pushed again after {time.monotonic() - at:.2f} s")
    all_reached(ids, "succeeded", timeout_s=40)
    assert_each_ran_once(ids)
    assert_mirror_agrees(ids)


@pytest.mark.parametrize("is_wiped", [False, True])
def test_the_first_housekeeper_of_all_pushes_again_only_what_redis_does_not_hold(world: World, is_wiped: bool) -> None:
    many(200)
    if is_wiped:
        queue.broker().flushall()
    report = Housekeeper("first").turn()
    assert report is not None
    assert report.repushed == (200 if is_wiped else 0)
    assert queue.broker().llen(LIST) == 200
    assert queue.broker().get("jobs:beat") == (b"2:1" if is_wiped else b"1:1")


def test_a_few_that_no_list_holds_before_the_first_turn_are_taken_for_on_their_way(world: World) -> None:
    many(3)
    queue.broker().flushall()
    report = Housekeeper("first").turn()
    assert report is not None
    assert (report.repushed, queue.broker().get("jobs:beat")) == (0, b"1:1")


@pytest.mark.slow
def test_a_wiped_redis_with_20000_queued_jobs_is_filled_again(world: World) -> None:
    ids = many(20_000)
    queue.broker().flushall()
    at = time.monotonic()
    world.worker()
    eventually(lambda: queue.broker().exists("jobs:beat"), timeout_s=30)
    world.note(f"20,000 queued, wiped: all pushed again {time.monotonic() - at:.2f} s after the start of a worker")
    all_reached(ids, "succeeded", timeout_s=110)
    assert_each_ran_once(ids)


@pytest.mark.parametrize("has_files", [True, False])
def test_a_broker_that_dies_and_comes_back_loses_nothing(world: World, has_files: bool) -> None:
    world.worker("--concurrency", "2")
    ids = [echo(sleepSeconds=0.05) for _ in range(60)]
    eventually(lambda: Job.objects.filter(status="succeeded").exists(), timeout_s=20)
    world.kill_broker()
    ids += [echo() for _ in range(20)]  # accepted all the same
    if not has_files:
        world.remove_broker_files()
    world.start_broker()
    all_reached(ids, "succeeded", timeout_s=40)
    assert_each_ran_once(ids)
    assert_mirror_agrees(ids)


def test_jobs_are_accepted_and_run_while_redis_is_away(world: World) -> None:
    world.kill_broker()
    world.worker()
    ids = [echo() for _ in range(10)] + [echo(failTimes=1), echo(delay_s=1)]
    all_reached(ids, "succeeded", timeout_s=40)
    world.start_broker()
    assert_mirror_agrees(ids)


def test_a_paused_queue_is_in_nobodys_way_while_redis_is_away(world: World) -> None:
    operate.pause_queue("high", "alice")
    resting = [echo(queue="high") for _ in range(30)]  # more than there are threads
    world.kill_broker()
    world.worker()
    reached(echo(), "succeeded", timeout_s=40)
    assert Job.objects.filter(pk__in=resting, status="queued").count() == 30


def test_a_worker_survives_an_outage_in_the_middle_of_its_jobs(world: World) -> None:
    world.worker()
    running = [echo(sleepSeconds=2) for _ in range(5)]
    all_reached(running, "running")
    world.kill_broker()
    all_reached(running, "succeeded")
    world.start_broker()
    reached(echo(), "succeeded")
    assert_each_ran_once(running)
    assert_mirror_agrees(running)


def test_ids_that_vanish_from_a_list_are_found(world: World) -> None:
    ids = [echo() for _ in range(40)]
    lost = random.Random(7).sample(ids, 15)
    for job_id in lost:
        assert queue.broker().lrem(LIST, 1, str(job_id)) == 1
    at = time.monotonic()
    world.worker()
    all_reached(ids, "succeeded", timeout_s=40)
    world.note(f"15 of 40 pushes lost: all ran within {time.monotonic() - at:.2f} s")
    assert_each_ran_once(ids)


def test_an_id_that_is_pushed_50_times_runs_once(world: World) -> None:
    job_id = echo(sleepSeconds=0.2)
    queue.broker().rpush(LIST, *[str(job_id)] * 50)
    world.worker("--burst").wait()
    assert reached(job_id, "succeeded").attempt == 1
    assert starts(job_id) == 1


def test_what_is_no_id_of_ours_is_dropped(world: World) -> None:
    nearly = "0x345678-1234-1234-1234-123456789abc"
    queue.broker().rpush(
        LIST, b"\xff\xfe", b"rubbish", b"", nearly, str(uuid.uuid4()), "../../etc/passwd", "x" * 10_000
    )
    job_id = echo()
    worker = world.worker()
    reached(job_id, "succeeded")
    eventually(lambda: queue.broker().llen(LIST) == 0)
    assert "Traceback" not in worker.log


def test_nobody_waits_for_a_redis_that_is_full(world: World) -> None:
    world.worker()
    reached(echo(), "succeeded")
    queue.broker().config_set("maxmemory", 1)
    try:
        ids = [echo() for _ in range(5)]
        all_reached(ids, "succeeded", timeout_s=30)
    finally:
        queue.broker().config_set("maxmemory", 0)
    assert_each_ran_once(ids)
    assert_mirror_agrees(ids)


def test_progress_of_many_threads_and_a_wiped_mirror_end_alike(world: World) -> None:
    world.worker()
    ids = [echo(sleepSeconds=1, progressSteps=50) for _ in range(10)]
    eventually(lambda: Job.objects.filter(status="running").exists(), timeout_s=20)
    queue.broker().flushall()
    all_reached(ids, "succeeded")
    assert_mirror_agrees(ids)
