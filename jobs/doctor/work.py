"""Whether the work gets done: workers for every queue that holds or may hold jobs, housekeeping, effects that wait for a person."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

from jobs import loss, registry
from jobs.api import depths
from jobs.conf import conf
from jobs.database import connection
from jobs.doctor.findings import Finding, failure, ok, warning
from jobs.models import Effect, Housekeeping, clock, count_workers, heard_leases

LATE_S = 120
"""What the oldest job of a queue may wait; the shipped alert has the same number."""

STALE_S = 30
"""Housekeeping is done once a second; after that nobody does it, whatever a slow machine may explain."""

FORGOTTEN = dt.timedelta(days=1)

MOST_ROWS = 10_000
"""Waiting jobs that are looked at for types that nobody knows: those that are next."""


def workers() -> Iterator[Finding]:
    live = list(heard_leases(clock.now()).only("worker", "queues", "concurrency"))
    queues = depths.queues()
    found = [*_missing(bool(live), queues), *_waiting(queues)]
    yield from found
    if not any(finding.level == "failure" for finding in found):
        threads = sum(lease.concurrency for lease in live)
        yield ok(f"workers: {count_workers(live)}, with {threads} handler threads, for every queue")


def _missing(is_any: bool, queues: list[dict[str, Any]]) -> Iterator[Finding]:
    unserved = [item["name"] for item in queues if item["listed"] and not item["workers"]]
    if not is_any:
        yield failure("no-worker", "no worker runs", "start one: python manage.py rqworker")
    elif unserved:
        yield failure(
            "queue-unserved",
            f"no worker serves the queue {', '.join(unserved)}",
            f"start one: python manage.py rqworker {' '.join(unserved)}",
        )
    for item in queues:
        if item["listed"]:
            continue
        name, new = item["name"], conf().queues[0]
        said = f"{_open(item)} open jobs are in the queue {name}, which JOBS_QUEUES does not name"
        move = f"or give them another queue: python manage.py queues move {name} {new}"
        if item["workers"]:
            yield warning("queue-unlisted", said, f"leave it to its worker, {move}")
        else:
            yield failure(
                "queue-unlisted", f"{said} and no worker serves", f"run them: python manage.py rqworker {name}; {move}"
            )


def _open(item: dict[str, Any]) -> int:
    return sum(item[status] for status in depths.COUNTED) or 1  # one in doubt is not counted there


def _waiting(queues: list[dict[str, Any]]) -> Iterator[Finding]:
    for item in queues:
        if item["paused"]:
            yield warning(
                "queue-paused",
                f"the queue {item['name']} is paused by {item['pausedBy']} since {item['pausedAt']}",
                f"python manage.py queues resume {item['name']}",
            )
        elif item["workers"] and (item["oldestWaitSeconds"] or 0) > LATE_S:
            yield warning(
                "queue-late",
                f"the oldest job of the queue {item['name']} has waited {item['oldestWaitSeconds']:.0f} s",
                f"start another worker: python manage.py rqworker {item['name']}",
            )
    if unknown := _unknown_types():
        yield warning(
            "type-unknown",
            f"jobs wait whose type no handler here has: {', '.join(unknown)}",
            "deploy the code that has their handlers, or cancel them in the admin: each try counts as a failure",
        )


def _unknown_types() -> list[str]:
    known = {job_type.name for job_type in registry.all_types()}
    found = set()
    with connection.cursor() as cursor:
        for status, order in (("queued", "queued_at"), ("scheduled", "run_after")):
            cursor.execute(
                "SELECT DISTINCT type FROM (SELECT type FROM jobs_job"
                f" WHERE status = '{status}' ORDER BY {order} LIMIT {MOST_ROWS}) AS next_ones"
            )
            found |= {name for (name,) in cursor.fetchall()}
    return sorted(found - known)


def housekeeping() -> Iterator[Finding]:
    """The row of the one who does it expires some seconds after each turn."""
    now = clock.now()
    row = Housekeeping.objects.filter(pk=1).only("expires_at").first()
    expired_s = (now - row.expires_at).total_seconds() if row and row.expires_at else 0.0
    is_staffed = heard_leases(now).filter(created_at__lt=now - dt.timedelta(seconds=STALE_S)).exists()
    if is_staffed and (row is None or expired_s > STALE_S):
        when = f"for {expired_s:.0f} s" if row else "ever"
        yield failure(
            "housekeeping-stale",
            f"workers run, but none has done the housekeeping {when}",
            "look for `housekeeping` in the workers' logs; meanwhile: python manage.py reconcile",
        )
    elif row is None or expired_s > STALE_S:
        yield warning(
            "housekeeping-idle",
            "nobody promotes due jobs and takes back those of dead workers",
            "start a worker: python manage.py rqworker",
        )
    else:
        yield ok("is done each second")


def owner() -> Iterator[Finding]:
    """Whether Redis serves this database, by the mark that housekeeping left there."""
    fix = "give each environment a Redis or a database number of its own in REDIS_URL"
    if said := loss.rival():
        yield failure("redis-rival", said, fix)
    elif hosts := loss.hosts_of_others():
        said = f"workers or schedulers of another database use this Redis and database number, on {', '.join(sorted(hosts))}"
        yield warning("redis-rival", f"{said}; they run without it, and take it when this database's are silent", fix)
    else:
        yield ok("Redis serves no other database")


def effects() -> Iterator[Finding]:
    doubtful = Effect.objects.filter(status=Effect.Status.IN_DOUBT)
    fix = "settle them in the admin, or see: python manage.py effects list"
    if old := doubtful.filter(ended_at__lt=clock.now() - FORGOTTEN).count():
        yield warning("effects-forgotten", f"effects in doubt for more than a day: {old}; their jobs wait", fix)
    if recent := doubtful.count() - old:
        yield warning("effects-in-doubt", f"effects in doubt: {recent}; their jobs wait", fix)
    if not old and not recent:
        yield ok("none is in doubt")
