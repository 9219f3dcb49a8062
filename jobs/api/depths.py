"""How full the queues are, from the database: Redis may be behind, or gone."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Min

from jobs.conf import conf
from jobs.documents import isotime
from jobs.lifecycle import OPEN, Status
from jobs.models import Job, QueueState, clock, count_workers, heard_leases

COUNTED = (Status.QUEUED, Status.RUNNING, Status.SCHEDULED)


def queues() -> list[dict[str, Any]]:
    """A document for each queue of the settings, in that order, then for each other one that holds open jobs."""
    now = clock.now()
    counts: dict[tuple[str, str], Any] = {
        (row["queue"], row["status"]): row
        for row in Job.objects.filter(status__in=OPEN)
        .values("queue", "status")
        .annotate(count=Count("pk"), oldest=Min("queued_at"))
        .order_by()
    }
    paused = {state.name: state for state in QueueState.objects.filter(paused_at__isnull=False)}
    leases = list(heard_leases(now).only("worker", "queues"))
    found = []
    for name in (*conf().queues, *sorted({name for name, _ in counts} - set(conf().queues))):
        waiting = counts.get((name, Status.QUEUED))
        state = paused.get(name)
        found.append(
            {
                "name": name,
                "listed": name in conf().queues,
                "paused": state is not None,
                "pausedBy": state.paused_by if state else None,
                "pausedAt": isotime(state.paused_at) if state else None,
                **{str(status): counts.get((name, status), {}).get("count", 0) for status in COUNTED},
                "oldestWaitSeconds": _seconds(now, waiting and waiting["oldest"]),
                "workers": count_workers(leases, name),
            }
        )
    return found


def _seconds(now: Any, since: Any) -> float | None:
    return None if since is None else max(0.0, round((now - since).total_seconds(), 3))
