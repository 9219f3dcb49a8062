"""Prometheus text: counters from the statistics, gauges from the open jobs.

Counters are sums of the minute rows, so they agree with `/api/stats` and survive restarts; they fall
when old rows are pruned, which Prometheus takes for a restart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Count, Sum

from jobs.api import depths
from jobs.lifecycle import Status
from jobs.models import Effect, Job, MinuteStat, clock, count_workers, heard_leases
from jobs.models.stat import BUCKETS_MS

Sample = tuple[str, dict[str, Any], Any]
"""(suffix of the name, labels, value)."""


def text() -> str:
    queues = depths.queues()
    lines: list[str] = []
    lines += _family("jobs_queue_depth", "gauge", "Open jobs, by queue and status.", _depths(queues))
    lines += _family(
        "jobs_queue_oldest_wait_seconds", "gauge", "Wait of the oldest queued job.",
        (("", {"queue": item["name"]}, item["oldestWaitSeconds"] or 0) for item in queues),
    )  # fmt: skip
    lines += _family(
        "jobs_queue_paused", "gauge", "1 while the queue is paused.",
        (("", {"queue": item["name"]}, int(item["paused"])) for item in queues),
    )  # fmt: skip
    lines += _family(
        "jobs_queue_workers", "gauge", "Workers that serve the queue.",
        (("", {"queue": item["name"]}, item["workers"]) for item in queues),
    )  # fmt: skip
    in_doubt = Job.objects.filter(status=Status.IN_DOUBT).aggregate(n=Count("pk"))["n"]
    lines += _family("jobs_in_doubt", "gauge", "Jobs that wait for a person.", [("", {}, in_doubt)])
    effects = Effect.objects.filter(status=Effect.Status.IN_DOUBT).aggregate(n=Count("pk"))["n"]
    lines += _family("jobs_effects_in_doubt", "gauge", "Effects whose truth is not known.", [("", {}, effects)])
    leases = list(heard_leases(clock.now()).only("worker", "concurrency"))
    threads = sum(lease.concurrency for lease in leases)
    lines += _family("jobs_workers", "gauge", "Workers that were heard of lately.", [("", {}, count_workers(leases))])
    lines += _family("jobs_worker_threads", "gauge", "Handler threads of these workers.", [("", {}, threads)])
    return "\n".join([*lines, *_attempts(), ""])


def _depths(queues: list[dict[str, Any]]) -> Iterable[Sample]:
    for item in queues:
        for status in depths.COUNTED:
            yield "", {"queue": item["name"], "status": status}, item[status]


def _attempts() -> list[str]:
    """Counter and two histograms of ended attempts, by queue and type; only the counter has the outcome."""
    columns = [f"{kind}_{i}" for kind in ("wait", "run") for i in range(len(BUCKETS_MS) + 1)]
    sums = {f"sum_{name}": Sum(name) for name in ("count", "wait_ms", "run_ms", *columns)}
    counts = MinuteStat.objects.values("queue", "type", "outcome").annotate(n=Sum("count")).order_by("queue", "type")
    rows: list[Any] = list(MinuteStat.objects.values("queue", "type").annotate(**sums).order_by("queue", "type"))
    ended = [("", {name: row[name] for name in ("queue", "type", "outcome")}, row["n"]) for row in counts]
    lines = _family("jobs_attempts_total", "counter", "Attempts that ended, by the event that ended them.", ended)
    lines += _family("jobs_wait_seconds", "histogram", "From due to start.", _histogram(rows, "wait"))
    return lines + _family("jobs_run_seconds", "histogram", "From start to end.", _histogram(rows, "run"))


def _histogram(rows: Iterable[dict[str, Any]], kind: str) -> Iterable[Sample]:
    for row in rows:
        labels = {"queue": row["queue"], "type": row["type"]}
        below = 0
        for index, bound_ms in enumerate(BUCKETS_MS):
            below += row[f"sum_{kind}_{index}"]
            yield "_bucket", {**labels, "le": f"{bound_ms / 1000:g}"}, below
        yield "_bucket", {**labels, "le": "+Inf"}, row["sum_count"]
        yield "_sum", labels, row[f"sum_{kind}_ms"] / 1000
        yield "_count", labels, row["sum_count"]


def _family(name: str, kind: str, help: str, samples: Iterable[Sample]) -> list[str]:
    lines = [f"# HELP {name} {help}", f"# TYPE {name} {kind}"]
    for suffix, labels, value in samples:
        shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        lines.append(f"{name}{suffix}{{{shown}}} {value}" if shown else f"{name}{suffix} {value}")
    return lines


def _escaped(text: Any) -> str:
    return str(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
