"""What `doctor` looks at: each probe answers with findings, and says what to do where something is wrong.

Probes only read. One that fails says so itself; none keeps the others from running.
"""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from django.conf import settings
from django.core import checks
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from pydantic import ValidationError

from jobs import queue
from jobs.conf import conf
from jobs.models import ClockStep, Effect, QueueState, Schedule, clock, count_workers, heard_leases

Level = Literal["ok", "warning", "failure"]

DISK_FREE_MIN_BYTES = 512 * 2**20
STEP_SHOWN = dt.timedelta(days=1)
"""How long a step of the clock is shown."""

CLOCK_SKEW_MAX_S = 2.0
"""Between this machine and the database or Redis. Nothing is decided by it, but people read times."""

SCHEDULER_KEYS = "rq:scheduler_instance:*"  # rq-scheduler's name for what a scheduler keeps alive


@dataclass(frozen=True)
class Finding:
    probe: str
    level: Level
    sentence: str
    fix: str = ""

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def run_all() -> list[Finding]:
    return [finding for probe in PROBES for finding in _guarded(probe)]


def _guarded(probe: Callable[[], Iterator[Finding]]) -> list[Finding]:
    name = probe.__name__.removeprefix("probe_")
    try:
        return list(probe())
    except DatabaseError as error:
        return [Finding(name, "failure", f"the database does not answer: {_first_line(error)}", DATABASE_FIX)]
    except ValidationError:
        return [Finding(name, "failure", "cannot be looked at", "mend the settings first")]
    except queue.OUTAGE as error:
        return [Finding(name, "failure", f"Redis does not answer: {_first_line(error)}", broker_fix())]


DATABASE_FIX = "look at DATABASE_URL and at the database server"


def broker_fix() -> str:
    if settings.IS_BROKER_EMBEDDED:
        return "start it with: manage.py broker start (or scripts/up)"
    return "look at REDIS_URL and at the Redis server; jobs are accepted and run meanwhile, but found later"


def probe_settings() -> Iterator[Finding]:
    """The system checks, and what no check can know."""
    messages = [message for message in checks.run_checks() if not message.is_silenced()]
    for message in messages:
        level: Level = "failure" if message.level >= checks.ERROR else "warning"
        yield Finding("settings", level, f"{message.msg} ({message.id})", message.hint or "see docs/settings.md")
    if not messages:
        mode = "development (DEBUG=1)" if settings.DEBUG else "production"
        yield Finding("settings", "ok", f"all settings are valid; {mode}")


def probe_disk() -> Iterator[Finding]:
    folder = settings.DATA_DIR
    free = shutil.disk_usage(folder).free
    sentence = f"{free // 2**20:,} MiB free for {folder}"
    if free < DISK_FREE_MIN_BYTES:
        yield Finding("disk", "failure", sentence, "free some space, or move JOBS_DATA_DIR to a larger disk")
    else:
        yield Finding("disk", "ok", sentence)


def probe_database() -> Iterator[Finding]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    executor = MigrationExecutor(connection)
    pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if pending:
        yield Finding("database", "failure", f"{len(pending)} migrations are not applied", "run: manage.py migrate")
        return
    if connection.vendor == "sqlite" and (mode := _pragma("journal_mode")) != "wal":
        fix = "keep the database on a local disk: write-ahead logging needs shared memory"
        yield Finding("database", "failure", f"SQLite runs in journal mode {mode!r} instead of 'wal'", fix)
        return
    yield Finding("database", "ok", f"{connection.vendor} answers and is up to date")


def probe_broker() -> Iterator[Finding]:
    broker = queue.broker()
    info: Any = broker.info()
    version = info.get("valkey_version") or info["redis_version"]
    sentence = f"Redis answers (version {version}, {info['used_memory_human']} used)"
    if info.get("maxmemory") and info.get("maxmemory_policy") != "noeviction":
        fix = "set maxmemory-policy to noeviction: evicted ids are found and pushed again, but late"
        yield Finding("broker", "warning", f"{sentence}, and evicts keys when it is full", fix)
    elif info.get("role") == "slave":
        yield Finding("broker", "failure", f"{sentence}, but it is a replica", "let REDIS_URL name the primary")
    else:
        yield Finding("broker", "ok", sentence)


def probe_workers() -> Iterator[Finding]:
    """Leases that were renewed lately; queues that nobody serves; queues that are paused."""
    live = list(heard_leases(clock.now()))
    served = {name for lease in live for name in lease.queues}
    if not live:
        yield Finding("workers", "failure", "no worker runs", "start one with: manage.py rqworker (or scripts/up)")
    elif idle := [name for name in conf().queues if name not in served]:
        fix = f"start one with: manage.py rqworker {' '.join(idle)}"
        yield Finding("workers", "failure", f"no worker serves the queue {', '.join(idle)}", fix)
    else:
        threads = sum(lease.concurrency for lease in live)
        yield Finding(
            "workers", "ok", f"workers: {count_workers(live)}, with {threads} handler threads, for every queue"
        )
    for state in QueueState.objects.exclude(paused_at=None):
        sentence = f"the queue {state.name} is paused by {state.paused_by} since {state.paused_at:%Y-%m-%d %H:%M} UTC"
        yield Finding("workers", "warning", sentence, "resume it in the admin or by POST /api/queues/…/resume")


def probe_scheduler() -> Iterator[Finding]:
    names = list(queue.broker().scan_iter(SCHEDULER_KEYS, count=1000))
    alive = [name for name in names if not queue.broker().hexists(name, "death")]
    if alive:
        yield Finding("scheduler", "ok", f"schedulers: {len(alive)}")
    else:
        level: Level = "failure" if (count := Schedule.objects.filter(enabled=True).count()) else "warning"
        fix = "start one with: manage.py rqscheduler (or scripts/up)"
        yield Finding("scheduler", level, f"no scheduler runs; schedules that create no jobs: {count}", fix)


def probe_clock() -> Iterator[Finding]:
    skews = {"database": (clock.now() - dt.datetime.now(dt.UTC)).total_seconds()}
    if queue.is_reachable():
        seconds, micros = queue.broker().time()
        skews["Redis"] = seconds + micros / 1e6 - dt.datetime.now(dt.UTC).timestamp()
    for name, skew_s in skews.items():
        if abs(skew_s) > CLOCK_SKEW_MAX_S:
            sentence = f"this machine's clock differs from that of the {name} by {skew_s:.1f} s"
            yield Finding("clock", "warning", sentence, "keep the machines' clocks together by NTP")
            return
    since = clock.now() - STEP_SHOWN
    if step := ClockStep.objects.filter(at__gte=since).first():
        sentence = (
            f"the database's clock stepped by {step.step_s:+.1f} s, as a scheduler saw {step.at:%Y-%m-%d %H:%M} UTC"
        )
        yield Finding("clock", "warning", sentence, "look after its time synchronisation, and at the schedules' slots")
        return
    yield Finding("clock", "ok", f"agrees with {' and '.join(skews)}")


def probe_effects() -> Iterator[Finding]:
    doubtful = Effect.objects.filter(status=Effect.Status.IN_DOUBT).count()
    if doubtful:
        fix = "settle them in the admin, or with: manage.py effects list"
        yield Finding("effects", "warning", f"effects in doubt: {doubtful}", fix)
    else:
        yield Finding("effects", "ok", "none is in doubt")


PROBES = (
    probe_settings,
    probe_disk,
    probe_database,
    probe_broker,
    probe_workers,
    probe_scheduler,
    probe_clock,
    probe_effects,
)


def _pragma(name: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA {name}")
        return str(cursor.fetchone()[0])


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
