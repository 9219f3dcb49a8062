"""How a schedule is shown: its times, how its latest slots went, and what its policies dropped."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from jobs import schedules
from jobs.admin import show
from jobs.cron import BadCron, slot_text, zone_of
from jobs.models import Job, Schedule

SLOTS_SHOWN = 5
DROPS_SHOWN = 20

BAR = 6
HEIGHT = 16
"""Pixels of the sparkline: one bar a slot."""


def upcoming(schedule: Schedule, count: int) -> list[SafeString]:
    """In UTC, as the keys have them, and on the schedule's own clock."""
    try:
        slots = schedules.upcoming(schedule, count)
        zone = zone_of(schedule.time_zone)
    except BadCron:
        return []
    return [
        format_html(
            "{} UTC, {} in {}", show.moment(slot), slot.astimezone(zone).strftime("%a %d %b %H:%M:%S"), zone.key
        )
        for slot in slots
    ]


def statuses_of(rows: Iterable[Schedule]) -> dict[str, str]:
    """Of the jobs of all latest slots, by one query."""
    ids = [uuid.UUID(job_id) for row in rows for _, job_id, _ in row.recent]
    return {str(pk): status for pk, status in Job.objects.filter(pk__in=ids).values_list("pk", "status")}


def sparkline(schedule: Schedule, statuses: Mapping[str, str]) -> SafeString | str:
    """One bar a slot, the latest at the right, in the colour of what became of its job."""
    if not schedule.recent:
        return show.NOTHING
    bars = format_html_join(
        "",
        '<rect class="job-phase job-{}" x="{}" y="0" width="{}" height="{}"><title>{}: {}, {} late</title></rect>',
        (
            (status, i * BAR, BAR - 1, HEIGHT, slot, status.replace("_", " "), show.duration(late_s))
            for i, (slot, status, late_s) in enumerate(
                (slot, statuses.get(job_id, "pruned"), late_s) for slot, job_id, late_s in schedule.recent
            )
        ),
    )
    width = len(schedule.recent) * BAR
    label = f"the latest {len(schedule.recent)} slots"
    return format_html(
        '<svg class="job-spark" role="img" aria-label="{}" width="{}" height="{}" viewBox="0 0 {} {}">{}</svg>',
        label, width, HEIGHT, width, HEIGHT, bars,
    )  # fmt: skip


def drift(schedule: Schedule) -> str:
    """How late the jobs of the latest slots were created."""
    late = sorted(float(late_s) for _, _, late_s in schedule.recent)
    if not late:
        return show.NOTHING
    return f"{show.duration(late[len(late) // 2])} at the median, {show.duration(late[-1])} at most"


def dropped(schedule: Schedule) -> SafeString | str:
    """The latest slots without a job, and why."""
    rows = [
        (
            show.moment(drop.at),
            drop.because,
            slot_text(drop.first) if drop.first == drop.last else f"{slot_text(drop.first)} to {slot_text(drop.last)}",
            "many" if drop.count is None else drop.count,
            drop.detail,
        )
        for drop in schedule.dropped.all()[:DROPS_SHOWN]
    ]
    if not rows:
        return show.NOTHING
    body = format_html_join("", "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>", rows)
    return format_html(
        '<table class="job-drops"><thead><tr><th>decided</th><th>because</th><th>slots</th><th>number</th><th></th></tr>'
        "</thead><tbody>{}</tbody></table>",
        body,
    )
