"""The overview: what there is, what waits, and how the last hour went. All of it from bounded reads."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.db.models import Sum
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from jobs.admin import show
from jobs.admin.base import ReadOnlyAdmin
from jobs.admin.fleet import count_up_to, queues
from jobs.lifecycle import MEANING, Event, Status
from jobs.models import Effect, Job, MinuteStat, count_workers, heard_leases
from jobs.models.stat import BUCKETS_MS

MINUTES = 60

CHART_HEIGHT = 120
BAR_WIDTH = 10
"""The chart's own units; the page scales it."""

BAD = (Event.FAIL, Event.RETRY, Event.EXPIRE, Event.DOUBT)
"""Outcomes of an attempt that are drawn as failures; releases and aborts were wanted."""


@dataclass(frozen=True)
class Bar:
    """One minute of the chart: attempts that ended well below, badly on top."""

    x: int
    good_y: float
    good_height: float
    bad_y: float
    bad_height: float
    title: str


def chart(now: dt.datetime) -> tuple[list[Bar], int]:
    """The last hour's bars, oldest first, and the count that the full height stands for."""
    first = now.replace(second=0, microsecond=0) - dt.timedelta(minutes=MINUTES - 1)
    rows = MinuteStat.objects.filter(minute__gte=first).values("minute", "outcome").annotate(total=Sum("count"))
    good, bad = [0] * MINUTES, [0] * MINUTES
    for row in rows.order_by():
        index = int((row["minute"] - first).total_seconds() // 60)
        if 0 <= index < MINUTES:
            (bad if row["outcome"] in BAD else good)[index] += row["total"]
    top = max(1, *(g + b for g, b in zip(good, bad, strict=True)))
    return [_bar(index, first, good[index], bad[index], top) for index in range(MINUTES)], top


def _bar(index: int, first: dt.datetime, good: int, bad: int, top: int) -> Bar:
    good_height, bad_height = round(CHART_HEIGHT * good / top, 1), round(CHART_HEIGHT * bad / top, 1)
    good_y = CHART_HEIGHT - good_height
    minute = (first + dt.timedelta(minutes=index)).strftime("%H:%M")
    title = f"{minute} UTC: {good} ended well, {bad} badly"
    return Bar(index * BAR_WIDTH, good_y, good_height, round(good_y - bad_height, 1), bad_height, title)


@dataclass(frozen=True)
class TypeRow:
    """One type's last hour."""

    type: str
    succeeded: int
    bad: int
    wait: str
    run: str


def types(now: dt.datetime) -> list[TypeRow]:
    """The last hour by type, the busiest first."""
    buckets = [f"{kind}_{index}" for kind in ("wait", "run") for index in range(len(BUCKETS_MS) + 1)]
    since = MinuteStat.objects.filter(minute__gte=now - dt.timedelta(minutes=MINUTES))
    sums = {f"sum_{name}": Sum(name) for name in ("count", *buckets)}
    totals: dict[str, dict[str, int]] = {}
    rows: Iterable[dict[str, Any]] = since.values("type", "outcome").annotate(**sums).order_by()  # type: ignore[assignment]
    for row in rows:
        total = totals.setdefault(row["type"], dict.fromkeys(("good", "bad", *buckets), 0))
        total["bad" if row["outcome"] in BAD else "good"] += row["sum_count"]
        for name in buckets:
            total[name] += row[f"sum_{name}"]
    found = [
        TypeRow(name, total["good"], total["bad"], _typical(total, "wait"), _typical(total, "run"))
        for name, total in totals.items()
    ]
    return sorted(found, key=lambda row: -(row.succeeded + row.bad))


def _typical(total: dict[str, int], kind: str) -> str:
    """The median and the 95th percentile, as the histogram's buckets tell them."""
    counts = [total[f"{kind}_{index}"] for index in range(len(BUCKETS_MS) + 1)]
    return f"{_percentile(counts, 0.5)} / {_percentile(counts, 0.95)}"


def _percentile(counts: Sequence[int], share: float) -> str:
    wanted, seen = share * sum(counts), 0
    if not wanted:
        return show.NOTHING
    for bound_ms, count in zip(BUCKETS_MS, counts, strict=False):
        seen += count
        if seen >= wanted:
            return f"≤ {show.duration(bound_ms / 1000)}"
    return f"> {show.duration(BUCKETS_MS[-1] / 1000)}"


@dataclass(frozen=True)
class StatusCount:
    status: Status
    count: str

    @property
    def words(self) -> str:
        return self.status.replace("_", " ")

    @property
    def meaning(self) -> str:
        return MEANING[self.status]


def status_counts() -> list[StatusCount]:
    found = []
    for status in Status:
        count, has_more = count_up_to(Job.objects.filter(status=status))
        found.append(StatusCount(status, f"{show.number(count)}{'+' if has_more else ''}"))
    return found


@admin.register(MinuteStat)
class OverviewAdmin(ReadOnlyAdmin[MinuteStat]):
    """The list of the statistics' rows is of no use to anybody; their sums are."""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        self.require_view(request)
        now = timezone.now()
        bars, top = chart(now)
        return self.page(
            request,
            "minutestat/page.html",
            "Overview",
            statuses=status_counts(),
            queues=queues(),
            in_doubt=count_up_to(Effect.objects.filter(status=Effect.Status.IN_DOUBT))[0],
            workers=count_workers(heard_leases(now).only("worker")),
            bars=bars,
            top=show.number(top),
            chart_height=CHART_HEIGHT,
            chart_width=MINUTES * BAR_WIDTH,
            types=types(now),
        )
