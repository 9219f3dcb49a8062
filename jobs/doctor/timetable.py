"""Whether schedules create jobs: a scheduler that is alive, and schedules that can."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from django.core.exceptions import ValidationError

from jobs import loss, registry, schedules
from jobs.conf import conf
from jobs.cron import BadCron
from jobs.doctor.findings import Finding, failure, ok, warning
from jobs.models import Schedule, clock, heard_leases

MOST = 1_000
"""Schedules that are looked at."""

SHOWN = 10
"""Lines at most."""

LATE = dt.timedelta(seconds=60)
"""A tick looks at what is due each second."""


def scheduler() -> Iterator[Finding]:
    if alive := loss.count_schedulers():
        yield ok(f"schedulers: {alive}")
        return
    count = Schedule.objects.filter(enabled=True).count()
    said, fix = f"no scheduler runs; schedules that create no jobs: {count}", "start one: python manage.py rqscheduler"
    yield failure("no-scheduler", said, fix) if count else warning("no-scheduler", said, fix)


def rows() -> Iterator[Finding]:
    """Enabled schedules, one by one: what keeps each from ever creating a job, or its jobs from being run."""
    now = clock.now()
    served = {name for lease in heard_leases(now).only("queues") for name in lease.queues}
    enabled = list(Schedule.objects.filter(enabled=True).order_by("name")[:MOST])
    found = [finding for row in enabled if (finding := _look(row, now, served)) is not None]
    yield from found[:SHOWN]
    if len(found) > SHOWN:
        yield warning(
            "schedules-more",
            f"{len(found) - SHOWN} more schedules have a finding",
            "mend those above first, then look again",
        )
    if not found:
        yield ok(f"enabled and valid: {len(enabled)}")


def _look(row: Schedule, now: dt.datetime, served: set[str]) -> Finding | None:
    name, pause = row.name, f"or stop it: python manage.py schedules pause {row.name}"
    try:
        schedules.validate(row)
        following = schedules.upcoming(row, 1, now)
    except ValidationError as error:
        said = "; ".join(f"{field}: {' '.join(texts)}" for field, texts in error.message_dict.items())
        return failure(
            "schedule-invalid",
            f"the schedule {name} creates no jobs: {said}",
            f"mend it in the admin or in code, {pause}",
        )
    except BadCron as error:
        return failure(
            "schedule-invalid",
            f"the schedule {name} creates no jobs: {error}",
            f"mend it in the admin or in code, {pause}",
        )
    if not following and row.ends_at is not None and row.ends_at <= now:
        return warning(
            "schedule-ended",
            f"the schedule {name} has ended at {row.ends_at:%Y-%m-%d %H:%M} UTC",
            f"give it another end in the admin, {pause}",
        )
    if not following:
        return failure(
            "schedule-never",
            f"the schedule {name} has no slot in the future",
            f"give it another time in the admin, {pause}",
        )
    its_queue = row.queue or registry.get(row.type).queue
    if its_queue not in conf().queues:
        return failure(
            "schedule-invalid",
            f"the schedule {name} creates no jobs: its type runs in the queue {its_queue}, which JOBS_QUEUES does not name",
            f"add the queue to JOBS_QUEUES, or state another one in the schedule, {pause}",
        )
    if served and its_queue not in served:
        return warning(
            "schedule-unserved",
            f"jobs of the schedule {name} wait in the queue {its_queue}, which no worker serves",
            f"start one: python manage.py rqworker {its_queue}",
        )
    if row.due_at is not None and row.due_at < now - LATE and loss.count_schedulers():
        return warning(
            "schedule-late",
            f"the schedule {name} has been due since {row.due_at:%Y-%m-%d %H:%M:%S} UTC, and no scheduler looks at it",
            "look at the schedulers' logs for errors",
        )
    return None
