"""Kills and wipes at random for a few seconds, then quiet: nothing lost, nothing twice, all of it lawful."""

from __future__ import annotations

import os
import random
import signal
import time
import uuid
from collections.abc import Callable

import pytest

from jobs import mirror, operate, queue
from jobs.lifecycle import Actor
from jobs.models import Effect, Job, Lease
from tests.real.watching import assert_lawful, echo
from tests.support.eventually import eventually
from tests.support.world import World

SECONDS = 10
STRIKES_EVERY_S = 0.7


@pytest.mark.parametrize("seed", [4])
def test_whatever_is_killed_every_job_ends_lawfully(world: World, seed: int) -> None:
    dice = random.Random(seed)
    world.manage("rqworker-pool", "--num-workers", "2", "--concurrency", "4")
    ids: list[uuid.UUID] = []
    strikes = _strikes(world)
    end, next_strike = time.monotonic() + SECONDS, time.monotonic() + 2
    while time.monotonic() < end:
        ids.append(_some_job(dice))
        if time.monotonic() > next_strike:
            dice.choice(strikes)()
            next_strike += STRIKES_EVERY_S
        if dice.random() < 0.05:
            _cancel(dice.choice(ids))
        time.sleep(0.03)  # the pace of the clients
    world.start_broker()
    eventually(lambda: not Job.objects.filter(status__in=("queued", "running", "scheduled")).exists(), timeout_s=60)
    assert Job.objects.filter(pk__in=ids).count() == len(ids)
    assert_lawful(world)
    _assert_effects_are_true(world)
    for job_id in ids:
        found = mirror.read_status(job_id)
        assert found is not None
        assert found[1]["status"] == Job.objects.get(pk=job_id).status


def _some_job(dice: random.Random) -> uuid.UUID:
    kind = dice.randrange(5)
    if kind == 0:
        return echo(sleepSeconds=dice.random() * 2)
    if kind == 1:
        return echo(failTimes=1)
    if kind == 2:
        return echo(effect="charge", effectSleepSeconds=dice.random(), onDoubt=dice.choice(["hold", "skip", "repeat"]))
    if kind == 3:
        return echo(delay_s=dice.random() * 3)
    return echo(value=dice.random(), progressSteps=3)


def _strikes(world: World) -> list[Callable[[], None]]:
    def kill(field: str, signum: signal.Signals) -> Callable[[], None]:
        def strike() -> None:
            for lease in Lease.objects.filter(revoked_at=None, horse_pid__isnull=False)[:1]:
                try:
                    os.kill(getattr(lease, field), signum)
                except ProcessLookupError:
                    pass  # the last strike's

        return strike

    def wipe() -> None:
        queue.broker().flushall()

    def restart_broker() -> None:
        world.kill_broker()
        world.start_broker()

    return [
        kill("horse_pid", signal.SIGKILL),
        kill("parent_pid", signal.SIGKILL),
        kill("parent_pid", signal.SIGTERM),
        wipe,
        restart_broker,
    ]


def _cancel(job_id: uuid.UUID) -> None:
    from jobs.errors import NotAllowed

    try:
        operate.cancel(job_id, actor=Actor.CLIENT, who="alice")
    except NotAllowed:
        pass  # it is over


def _assert_effects_are_true(world: World) -> None:
    """I4: a succeeded job's held or repeated effect is in the ledger; what is in doubt may be."""
    lines = {line[0] for line in world.ledger()}
    for effect in Effect.objects.select_related("job"):
        if effect.status == "done" and effect.settled_by != "policy":
            assert str(effect.job_id) in lines
        if effect.job.status == "succeeded":
            assert effect.status == "done"
        assert effect.status != "executing"
