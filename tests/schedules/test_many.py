"""Ten thousand schedules that are due in the same second."""

from __future__ import annotations

import datetime as dt
import time

from jobs.models import IdempotencyKey, Job, Schedule
from jobs.schedules import Ticker
from tests.support.world import World

MANY = 10_000
MOST_CPU_S = 6.0
"""The suite shares its machine, so that its clock says little; run alone with `-s`, the test says what it took."""

CRONS = ["* * * * *", "*/1 * * * *", "0-59 * * * 0-6", "* 0-23 * * *"]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]  # 16 different times, as tenants share them


def test_ten_thousand_due_schedules_are_one_short_turn(world: World) -> None:
    now = dt.datetime.now(dt.UTC).replace(second=0, microsecond=0)
    Schedule.objects.bulk_create(
        Schedule(
            name=f"many-{i}", type="echo", cron=CRONS[i % 4], time_zone=ZONES[i // 4 % 4],
            pointer=now - dt.timedelta(minutes=1), due_at=now,
        )
        for i in range(MANY)
    )  # fmt: skip
    ticker = Ticker(1, now=lambda: now, steady_s=lambda: 0.0)
    began, cpu_began = time.perf_counter(), time.process_time()
    assert ticker.turn() == MANY
    took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    began = time.perf_counter()
    assert ticker.turn() == 0
    idle_s = time.perf_counter() - began
    world.note(f"{MANY} due schedules: {took_s:.2f} s ({cpu_s:.2f} s of a core); nothing due: {idle_s * 1000:.1f} ms")
    assert Job.objects.count() == IdempotencyKey.objects.count() == MANY
    assert cpu_s < MOST_CPU_S
    assert idle_s < 1
