"""Schedules as code: list, set, pause, resume, run, backfill, revert, remove; `next` shows slots of any cron expression."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.core.management.base import CommandError, CommandParser

from jobs import cron, schedules
from jobs.addresses import add_links, mounted_at
from jobs.cron import BadCron, slot_text
from jobs.documents import isotime
from jobs.errors import ScheduleNotFound
from jobs.management.base import INVALID, JobsCommand, operator_name, read_json
from jobs.models import Schedule, clock

MOST_SLOTS = 10_000


class Command(JobsCommand):
    help = "Show and change schedules: list, set, pause, resume, run, backfill, revert, remove, next."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        listing = verbs.add_parser("list", help="all schedules with their next slots")
        listing.add_argument("--json", action="store_true")
        _add_set(verbs.add_parser("set", help="create a schedule, or change one"))
        for verb, text in (
            ("pause", "create no more jobs"),
            ("resume", "go on, from the present"),
            ("run", "create a job now, whatever the policies say"),
            ("remove", "delete the schedule; its jobs stay"),
            ("revert", "give a schedule that is declared in code the code's values back"),
        ):
            single = verbs.add_parser(verb, help=text)
            single.add_argument("name")
            single.add_argument("--json", action="store_true")
        backfill = verbs.add_parser("backfill", help="create the jobs of a range's slots that have none")
        backfill.add_argument("name")
        backfill.add_argument("--from", dest="start", required=True, help="ISO 8601 time, inclusive")
        backfill.add_argument("--to", dest="end", required=True, help="ISO 8601 time, inclusive, not in the future")
        backfill.add_argument("--dry-run", action="store_true", help="only say which slots there are")
        backfill.add_argument("--json", action="store_true")
        upcoming = verbs.add_parser("next", help="the slots of a cron expression; stores nothing")
        upcoming.add_argument("expression")
        upcoming.add_argument("--tz", default="UTC", help="IANA time zone (default UTC)")
        upcoming.add_argument(
            "--from", dest="after", help="ISO 8601 time, exclusive; UTC without an offset (default now)"
        )
        upcoming.add_argument("--count", type=int, default=5)
        upcoming.add_argument("--json", action="store_true")

    def run(self, **options: Any) -> None:
        getattr(self, f"_{options['verb']}")(**options)

    def _list(self, **options: Any) -> None:
        rows = list(Schedule.objects.all())
        if options["json"]:
            self.print_json({"items": [_document(row) for row in rows]})
            return
        for row in rows:
            when = f"{row.cron} {row.time_zone}" if row.cron else f"every {row.every_s} s"
            following = ", ".join(_next_slots(row, 1)) if row.enabled else f"paused {row.paused_because}".strip()
            self.stdout.write(f"{row.name:<24} {row.type:<20} {when:<30} next: {following or 'never'}")
            if row.last_note:
                self.stdout.write(f"{'':<24} {row.last_note}")

    def _set(self, **options: Any) -> None:
        schedule = Schedule.objects.filter(name=options["name"]).first() or Schedule(name=options["name"])
        _apply(schedule, options)
        is_new = schedule.pk is None
        is_changed = schedules.store(schedule, who=operator_name())
        row = Schedule.objects.get(name=schedule.name)
        done = "created" if is_new else "changed" if is_changed else "is as wanted already"
        self.done = f"{row.name}: {done}."
        if options["json"]:
            self.print_json(_document(row))
        else:
            self.stdout.write(f"{row.name}: {done}; next slots: {', '.join(_next_slots(row, 3)) or 'none'}")

    def _pause(self, **options: Any) -> None:
        is_changed = schedules.pause(options["name"], who=operator_name())
        self._say(options, "paused" if is_changed else "was paused already")

    def _resume(self, **options: Any) -> None:
        is_changed = schedules.resume(options["name"], who=operator_name())
        self._say(options, "resumed" if is_changed else "was not paused")

    def _run(self, **options: Any) -> None:
        submitted = schedules.run_now(options["name"], who=operator_name())
        self.done = f"The job {submitted.id} was created."
        if options["json"]:
            self.print_json(add_links({**submitted.document}, mounted_at()))
        else:
            self.stdout.write(f"{options['name']}: created job {submitted.id}")

    def _remove(self, **options: Any) -> None:
        schedules.remove(options["name"])
        self.done = f"The schedule {options['name']} was removed."
        if options["json"]:
            self.print_json({"name": options["name"], "removed": True})
        else:
            self.stdout.write(f"{options['name']}: removed")

    def _revert(self, **options: Any) -> None:
        is_changed = schedules.revert(options["name"], who=operator_name())
        self._say(options, "is as the code has it again" if is_changed else "is as the code has it already")

    def _backfill(self, **options: Any) -> None:
        name, start, end = options["name"], _time(options["start"], "--from"), _time(options["end"], "--to")
        if options["dry_run"]:
            found = schedules.preview(_find(name), start, end)
        else:
            found = schedules.backfill(name, start, end, who=operator_name())
        new = [slot_text(slot) for slot in found.new]
        if options["json"]:
            self.print_json({"name": name, "slots": new, "known": [slot_text(slot) for slot in found.known]})
        else:
            done = "would be created" if options["dry_run"] else "created"
            self.stdout.write("\n".join([*new, f"{name}: {len(new)} jobs {done}, {len(found.known)} exist already"]))

    def _next(self, **options: Any) -> None:
        count = options["count"]
        if not 0 <= count <= MOST_SLOTS:
            raise CommandError(f"--count is 0 to {MOST_SLOTS:,}.", returncode=INVALID)
        try:
            found = cron.next_slots(options["expression"], options["tz"], _time(options["after"]), count)
        except BadCron as error:
            raise CommandError(f"{error}.", returncode=INVALID) from None
        texts = [slot_text(slot) for slot in found]
        if options["json"]:
            self.print_json({"slots": texts})
        else:
            self.stdout.write("\n".join(texts))

    def _say(self, options: dict[str, Any], done: str) -> None:
        self.done = f"{options['name']}: {done}."
        if options["json"]:
            self.print_json(_document(Schedule.objects.get(name=options["name"])))
        else:
            self.stdout.write(f"{options['name']}: {done}")


def _add_set(parser: CommandParser) -> None:
    parser.add_argument("name")
    parser.add_argument("--type", required=True, help="the type of job to create")
    when = parser.add_mutually_exclusive_group(required=True)
    when.add_argument("--cron", help="five fields, or @hourly, @daily, …")
    when.add_argument("--every", type=int, metavar="S", help="an interval in seconds")
    parser.add_argument("--tz", metavar="ZONE", help="IANA time zone of the cron expression (default UTC)")
    parser.add_argument("--payload", metavar="JSON", help="JSON, @file, or - for stdin")
    parser.add_argument("--queue", help="default: the type's own")
    parser.add_argument(
        "--catch-up", choices=Schedule.CatchUp.values, help="what becomes of missed slots (default last)"
    )
    parser.add_argument(
        "--window", type=int, metavar="S", help="missed slots older than this are dropped (default a day)"
    )
    parser.add_argument("--max", type=int, metavar="N", help="missed slots made up for at most (default 100)")
    parser.add_argument("--overlap", choices=Schedule.Overlap.values, help="while the last job is open (default allow)")
    parser.add_argument("--start", metavar="ISO", help="no slot before this time; '' for no bound")
    parser.add_argument("--end", metavar="ISO", help="no slot after this time; '' for no bound")
    parser.add_argument("--anchor", metavar="ISO", help="a slot of the interval (default: when it was made)")
    parser.add_argument(
        "--pause-after", type=int, metavar="N", help="pause when so many jobs in a row have failed (default 0: never)"
    )
    parser.add_argument("--jitter", type=int, metavar="S", help="start each job up to so many seconds late")
    parser.add_argument("--json", action="store_true")


def _apply(schedule: Schedule, options: dict[str, Any]) -> None:
    """Set what was given; what was not keeps its value, or its default in a new schedule."""
    schedule.type = options["type"]
    schedule.cron = options["cron"] or ""
    schedule.every_s = options["every"]
    if options["payload"] is not None:
        schedule.payload = read_json(options["payload"], "--payload")
    for option, column in (
        ("tz", "time_zone"),
        ("queue", "queue"),
        ("catch_up", "catch_up"),
        ("window", "catch_up_window_s"),
        ("max", "catch_up_max"),
        ("overlap", "overlap"),
        ("jitter", "jitter_s"),
        ("pause_after", "pause_after_failures"),
    ):
        if options[option] is not None:
            setattr(schedule, column, options[option])
    for option, column in (("start", "starts_at"), ("end", "ends_at"), ("anchor", "anchor")):
        if options[option] is not None:
            setattr(schedule, column, _time(options[option], f"--{option}") if options[option] else None)


def _document(row: Schedule) -> dict[str, Any]:
    return {
        "name": row.name,
        "type": row.type,
        "payload": row.payload,
        "queue": row.queue or None,
        "cron": row.cron or None,
        "everySeconds": row.every_s,
        "timeZone": row.time_zone,
        "enabled": row.enabled,
        "catchUp": row.catch_up,
        "catchUpWindowSeconds": row.catch_up_window_s,
        "catchUpMax": row.catch_up_max,
        "overlap": row.overlap,
        "jitterSeconds": row.jitter_s,
        "words": schedules.in_words(row),
        "startsAt": isotime(row.starts_at),
        "endsAt": isotime(row.ends_at),
        "pauseAfterFailures": row.pause_after_failures,
        "pausedBecause": row.paused_because or None,
        "declared": row.is_declared,
        "overridden": row.is_overridden,
        "pointer": isotime(row.pointer),
        "lastJobId": row.last_job_id and str(row.last_job_id),
        "lastNote": row.last_note or None,
        "nextSlots": _next_slots(row, 5) if row.enabled else [],
    }


def _next_slots(row: Schedule, count: int) -> list[str]:
    try:
        return [slot_text(slot) for slot in schedules.upcoming(row, count)]
    except BadCron:
        return []


def _find(name: str) -> Schedule:
    schedule = Schedule.objects.filter(name=name).first()
    if schedule is None:
        raise ScheduleNotFound(f"there is no schedule {name!r}")
    return schedule


def _time(text: str | None, option: str = "--from") -> dt.datetime:
    if text is None:
        return clock.now()
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(f"{option}: {text!r} is no ISO 8601 time.", returncode=INVALID) from None
    if not 1900 <= moment.year < 9999:  # beyond, zones reach past the ends of the calendar
        raise CommandError(f"{option} is a time of the years 1900 to 9998.", returncode=INVALID)
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment
