"""A schedule in words: "At 02:00, Monday through Friday (Europe/Berlin)"."""

from __future__ import annotations

from cron_descriptor import Options, get_description
from cron_descriptor.Exception import FormatError

from jobs.cron import BadCron, parse
from jobs.models import Schedule


def in_words(schedule: Schedule) -> str:
    """When it is due; the expression itself where it makes no sense."""
    if not schedule.cron:
        return f"Every {_duration(schedule.every_s or 0)}"
    options = Options()
    options.use_24hour_time_format = True
    try:
        words = get_description(parse(schedule.cron), options)
    except (BadCron, FormatError):
        return schedule.cron
    return f"{words} ({schedule.time_zone})"


def _duration(seconds: int) -> str:
    for unit_s, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= unit_s and seconds % unit_s == 0:
            count = seconds // unit_s
            return unit if count == 1 else f"{count} {unit}s"
    return "second" if seconds == 1 else f"{seconds} seconds"
