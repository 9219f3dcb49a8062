"""A database that does not take writes: 503, nothing half-written, and on again when it is back."""

from __future__ import annotations

from jobs.models import IdempotencyKey, Job
from tests.api.holding import held_database
from tests.support.world import World

BODY = {"type": "echo", "idempotencyKey": "k"}


def test_a_database_that_is_held_is_a_503_and_the_same_key_works_afterwards(world: World) -> None:
    world.serve()
    assert world.call("POST", "/api/jobs", {"type": "echo"}).status == 202
    with held_database():
        refused = world.call("POST", "/api/jobs", BODY)
        alive = world.call("GET", "/health/live")
    assert (refused.status, refused.json()["code"]) == (503, "database-unavailable")
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["content-type"] == "application/problem+json"
    assert alive.status == 200
    assert not IdempotencyKey.objects.exists()
    assert world.call("POST", "/api/jobs", BODY).status == 202
    assert Job.objects.count() == 2


def test_who_cannot_write_is_not_ready(world: World) -> None:
    world.serve()
    with held_database():
        answer = world.call("GET", "/health/ready")
    assert (answer.status, answer.json()["code"]) == (503, "database-unavailable")
    assert world.call("GET", "/health/ready").status == 200
