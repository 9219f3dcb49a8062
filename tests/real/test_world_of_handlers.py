"""A handler finds the same world in a thread of the horse and in a process of its own, at the first attempt and the next."""

from __future__ import annotations

import multiprocessing
import signal
from typing import Any

import pytest

from tests.real.watching import horse_pid, kill, reached, submit
from tests.support.world import World

KINDS = ["", "-apart"]


def result(kind: str, **payload: Any) -> Any:
    return reached(submit(kind, **payload), "succeeded", timeout_s=90).result


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
@pytest.mark.parametrize("kind", KINDS)
def test_multiprocessing_works(world: World, kind: str, method: str) -> None:
    world.worker()
    assert result("test-multiprocessing" + kind, method=method) == [1, 2, 9, -signal.SIGTERM, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_programs_end_by_the_signals_that_they_are_sent(world: World, kind: str) -> None:
    world.worker()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGQUIT, signal.SIGUSR1):
        assert result("test-signal-program" + kind, signal=number) == -number


def test_plain_and_isolated_find_the_same(world: World) -> None:
    """Even where the worker was started with signals ignored and blocked, as `nohup` and shells do."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    before = signal.signal(signal.SIGINT, signal.SIG_IGN), signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        world.worker()
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGHUP, before[1])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
    plain, apart = result("test-world"), result("test-world-apart")
    assert plain == apart
    assert int(plain["ignored"], 16) == int(plain["blocked"], 16) == 0
    assert plain["daemon"] is False
    kill(horse_pid())
    reached(submit("echo"), "succeeded", timeout_s=60)
    again, apart_again = result("test-world"), result("test-world-apart")
    lease = again["environment"].pop("RUNS_UNDER_LEASE"), plain["environment"].pop("RUNS_UNDER_LEASE")
    assert lease[0] != lease[1]
    assert again == plain  # the first horse is a fork, the next one a program
    assert apart_again["environment"].pop("RUNS_UNDER_LEASE") == lease[0]
    assert apart_again == again


def test_what_one_handler_does_to_its_process_does_not_reach_isolated_attempts(world: World) -> None:
    world.worker()
    first = result("test-world-apart")
    assert result("test-disturb") == "disturbed"
    assert result("test-world-apart") == first


def test_isolated_attempts_draw_different_numbers(world: World) -> None:
    world.worker()
    ids = [submit("test-random-apart") for _ in range(6)]
    assert len({reached(job_id, "succeeded", timeout_s=60).result for job_id in ids}) == 6
