"""Ten thousand schedules that are due in the same second."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable
from typing import Any

from django.db import connection

import jobs
from jobs import schedules
from jobs.models import IdempotencyKey, Job, Schedule
from jobs.schedules import Ticker
from jobs.schedules.ticking import CHUNK
from tests.support.world import World

MANY = 10_000
MOST_CPU_S = 4.0
"""The suite shares its machine, so that its clock says little; run alone with `-s`, the test says what it took."""

CRONS = ["* * * * *", "*/1 * * * *", "0-59 * * * 0-6", "* 0-23 * * *"]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]  # 16 different times, as tenants share them


MOST_STATEMENTS = 12
"""Of one commit, with its beginning and end, whatever the number of schedules in it."""


def make_due(many: int) -> dt.datetime:
    """`many` schedules that are due at the instant returned."""
    now = dt.datetime.now(dt.UTC).replace(second=0, microsecond=0)
    Schedule.objects.bulk_create(
        Schedule(
            name=f"many-{i}", type="echo", cron=CRONS[i % 4], time_zone=ZONES[i // 4 % 4],
            pointer=now - dt.timedelta(minutes=1), due_at=now,
        )
        for i in range(many)
    )  # fmt: skip
    return now


def test_ten_thousand_due_schedules_are_one_short_turn(world: World) -> None:
    now = make_due(MANY)
    ticker = Ticker(1, now=lambda: now, steady_s=lambda: 0.0)
    began, cpu_began = time.perf_counter(), time.process_time()
    with CountedStatements() as statements:
        assert ticker.turn() == MANY
    took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    began = time.perf_counter()
    assert ticker.turn() == 0
    idle_s = time.perf_counter() - began
    world.note(
        f"{MANY} due schedules: {took_s:.2f} s ({cpu_s:.2f} s of a core), {statements.count} statements;"
        f" nothing due: {idle_s * 1000:.1f} ms"
    )
    assert Job.objects.count() == IdempotencyKey.objects.count() == MANY
    assert statements.count <= MANY / CHUNK * MOST_STATEMENTS
    assert cpu_s < MOST_CPU_S
    assert idle_s < 1


def test_requests_are_accepted_between_the_commits_of_a_long_tick(world: World) -> None:
    now = make_due(MANY // 2)
    is_over = threading.Event()
    waits_s: list[float] = []

    def accept() -> None:
        while not is_over.is_set():
            began = time.perf_counter()
            jobs.submit("echo")
            waits_s.append(time.perf_counter() - began)
        connection.close()

    client = threading.Thread(target=accept)
    client.start()
    assert Ticker(1, now=lambda: now, steady_s=lambda: 0.0).turn() == MANY // 2
    is_over.set()
    client.join()
    world.note(f"{len(waits_s)} requests accepted meanwhile, the slowest in {max(waits_s):.2f} s")
    assert len(waits_s) >= MANY // 2 // CHUNK / 2


def test_three_schedulers_at_once_and_a_person_create_each_slot_once(world: World) -> None:
    now = make_due(3 * CHUNK)
    barrier = threading.Barrier(4)
    created: list[int] = []
    failures: list[BaseException] = []

    def one(act: Callable[[], None]) -> None:
        try:
            barrier.wait()
            act()
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    def tick() -> None:
        created.append(Ticker(1, now=lambda: now, steady_s=lambda: 0.0).turn())

    def edit() -> None:
        for i in range(0, 3 * CHUNK, CHUNK // 5):
            schedules.pause(f"many-{i}", who="alice")

    threads = [threading.Thread(target=one, args=(act,)) for act in (tick, tick, tick, edit)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    turned_off = Schedule.objects.filter(enabled=False, last_job_id=None).count()
    assert sum(created) == Job.objects.count() == IdempotencyKey.objects.count() == 3 * CHUNK - turned_off
    assert not Schedule.objects.filter(enabled=True, pointer__lt=now).exists()


class CountedStatements:
    """How many statements this thread's connection executed."""

    count = 0

    def __enter__(self) -> CountedStatements:
        self._wrapper = connection.execute_wrapper(self._execute)
        self._wrapper.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._wrapper.__exit__(None, None, None)

    def _execute(self, execute: Callable[..., Any], *arguments: Any) -> Any:
        self.count += 1
        return execute(*arguments)
