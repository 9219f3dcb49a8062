"""Many at once against a real server."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from jobs.models import Event, IdempotencyKey, Job
from tests.support.http import Reply
from tests.support.world import World


def test_fifty_identical_requests_at_once_are_one_job(world: World) -> None:
    world.serve()
    barrier = threading.Barrier(50)

    def ask(_: int) -> Reply:
        barrier.wait()
        return world.call("POST", "/api/jobs", {"type": "echo", "payload": {"value": 1}, "idempotencyKey": "once"})

    with ThreadPoolExecutor(50) as pool:
        replies = list(pool.map(ask, range(50)))
    assert sorted(reply.status for reply in replies) == [200] * 49 + [202]
    assert len({reply.json()["id"] for reply in replies}) == 1
    assert Job.objects.count() == IdempotencyKey.objects.count() == Event.objects.count() == 1


def test_of_different_requests_under_one_key_one_wins_and_the_others_are_told(world: World) -> None:
    world.serve()
    barrier = threading.Barrier(20)

    def ask(number: int) -> Reply:
        barrier.wait()
        return world.call("POST", "/api/jobs", {"type": "echo", "payload": {"value": number}, "idempotencyKey": "k"})

    with ThreadPoolExecutor(20) as pool:
        replies = list(pool.map(ask, range(20)))
    assert sorted(reply.status for reply in replies) == [202] + [422] * 19
    assert Job.objects.count() == 1
