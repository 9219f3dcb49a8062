"""A database as it is after weeks of work: jobs by the ten thousand, written past the code that accepts them.

Most are finished, one in fifty is open. Of each filter of a list there is a value that half of the jobs have and one
that only a few of the oldest have: whoever looks for those by reading from the newest on reads everything.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from typing import Any

from django.db import connection, models, transaction

from jobs.lifecycle import FINAL
from jobs.models import Effect, Event, IdempotencyKey, Job, JobTag, LogLine, MinuteStat, Schedule
from jobs.models.clock import text
from tests.support.factory import make_lease

OLD = 120
"""Jobs beyond their retention, at any size."""

RUNNING = 20
"""Jobs of the live lease, at any size: workers do not grow with the tables."""

RARE = range(OLD + RUNNING, OLD + RUNNING + 5)
"""The oldest of those that are kept."""

APART = dt.timedelta(seconds=60)
"""Between two jobs: a larger crowd goes further back, and is no denser."""


class Crowd:
    """`size` jobs; those that the questions are about are named."""

    def __init__(self, size: int) -> None:
        self.now = dt.datetime.now(dt.UTC)
        self.size = size
        self.lease = make_lease("busy")
        self.statuses = [_status(number) for number in range(size)]
        self.ids = [_id_at(self.created_at(number)) for number in range(size)]
        with transaction.atomic():
            self._fill()
        if connection.vendor == "postgresql":  # as autovacuum does; nobody does it for SQLite
            with connection.cursor() as cursor:
                cursor.execute("VACUUM ANALYZE")

    def created_at(self, number: int) -> dt.datetime:
        if number < OLD:
            return self.now - dt.timedelta(days=100, seconds=-number)
        return self.now - (self.size - number) * APART

    def some(self, status: str, count: int) -> list[uuid.UUID]:
        """From the middle of those with that status."""
        found = [job_id for job_id, its in zip(self.ids, self.statuses, strict=True) if its == status]
        return found[(len(found) - count) // 2 :][:count]

    def _fill(self) -> None:
        numbers = range(self.size)
        _insert(Job, (self._job(number) for number in numbers))
        _insert(Event, (row for number in numbers for row in self._events(number)))
        _insert(IdempotencyKey, (self._key(number) for number in numbers if key_of(number)))
        _insert(JobTag, (self._tag(number, tag) for number in numbers for tag in _tags(number)))
        _insert(LogLine, (self._line(number) for number in numbers if number % 5 == 0))
        _insert(Effect, (self._effect(number) for number in numbers if number % 5 == 0))
        _insert(MinuteStat, (self._minute(number) for number in range(self.size // 4)))
        _insert(Schedule, (self._schedule(number) for number in range(self.size // 40)))
        for number in range(40):
            make_lease(f"gone-{number}", revoked_at=self.now)

    # --- rows -------------------------------------------------------------------------------------------

    def _job(self, number: int) -> Job:
        status, at = self.statuses[number], self.created_at(number)
        is_rare = number in RARE
        return Job(
            id=self.ids[number], type="health-check" if is_rare else "echo" if number % 3 else f"type-{number % 60}",
            queue="low" if is_rare else "high" if number % 5 == 0 else "default", client=client_of(number),
            source="command" if is_rare else "api", key=key_of(number), payload={"value": "x" * 100, "number": number},
            options={}, status=status, version=3, attempt=0 if status in ("queued", "scheduled") else 1,
            lease_id=self.lease.id if status == "running" else None, failures_allowed=5, crashes_allowed=3,
            max_attempts=5, timeout_s=300, has_effects=number % 5 == 0, created_at=at, queued_at=at, started_at=at,
            run_after=self.now + dt.timedelta(hours=1) if status == "scheduled" else None,
            finished_at=at + dt.timedelta(seconds=1) if status in FINAL else None,
            result={"done": True} if status == "succeeded" else None,
        )  # fmt: skip

    def _events(self, number: int) -> Iterator[Event]:
        steps = [("submit", None, "queued"), ("start", "queued", "running"), ("succeed", "running", "succeeded")]
        for event, source, target in steps if self.statuses[number] in FINAL else steps[:1]:
            yield Event(
                job_id=self.ids[number], event=event, source=source, target=target, attempt=1, actor="worker",
                who="busy", at=self.created_at(number),
            )  # fmt: skip

    def _key(self, number: int) -> IdempotencyKey:
        return IdempotencyKey(
            client=client_of(number), key=key_of(number), job_id=self.ids[number], salt=b"s" * 16,
            fingerprint=b"f" * 32, algorithm=1, created_at=self.created_at(number),
        )  # fmt: skip

    def _tag(self, number: int, tag: str) -> JobTag:
        return JobTag(job_id=self.ids[number], tag=tag)

    def _line(self, number: int) -> LogLine:
        return LogLine(job_id=self.ids[number], attempt=1, at=self.created_at(number), level="info", message="said")

    def _effect(self, number: int) -> Effect:
        is_open = number in (150, 160, 170)
        return Effect(
            job_id=self.ids[number], name="send", status="in_doubt" if is_open else "done", attempt=1,
            reserved_at=self.created_at(number),
        )  # fmt: skip

    def _minute(self, number: int) -> MinuteStat:
        minute = self.now.replace(second=0, microsecond=0) - dt.timedelta(minutes=number // 4)
        return MinuteStat(minute=minute, queue="default", type="echo", outcome="succeed", worker=f"busy-{number % 4}")

    def _schedule(self, number: int) -> Schedule:
        return Schedule(
            name=f"schedule-{number}", type="echo", cron="0 3 * * *", anchor=self.now, pointer=self.now,
            due_at=self.now + dt.timedelta(hours=1 + number), created_at=self.now,
        )  # fmt: skip


def client_of(number: int) -> str:
    return "carol" if number in RARE else "bob" if number % 7 == 0 else "alice"


def key_of(number: int) -> str | None:
    return f"order-{number}" if number % 2 == 0 else None


def _status(number: int) -> str:
    if number < OLD:
        return "succeeded"
    if number < OLD + RUNNING:
        return "running"
    if number in RARE:
        return "cancelled"
    return {0: "queued", 1: "scheduled", 2: "failed"}.get(number % 20, "succeeded")


def _tags(number: int) -> list[str]:
    return [*(["blue"] if number % 2 else []), *(["rare"] if number in RARE else []), f"order-{number}"]


def _id_at(moment: dt.datetime) -> uuid.UUID:
    """A UUIDv7 of that time: RFC 9562 begins it with 48 bits of milliseconds; the rest is that of a random UUID."""
    return uuid.UUID(int=int(moment.timestamp() * 1000) << 80 | 7 << 76 | uuid.uuid4().int & (1 << 76) - 1)


def _insert(model: type[models.Model], rows: Iterator[Any]) -> None:
    """By the fastest way into each database, and without what Django would do for each row."""
    fields = [field for field in model._meta.concrete_fields if not isinstance(field, models.AutoField)]
    names = ", ".join(field.column for field in fields)
    values = ([_value(field, row) for field in fields] for row in rows)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY {model._meta.db_table} ({names}) FROM STDIN") as copy:
                for line in values:
                    copy.write_row(line)
        else:
            marks = ", ".join(["%s"] * len(fields))
            cursor.executemany(f"INSERT INTO {model._meta.db_table} ({names}) VALUES ({marks})", list(values))


def _value(field: models.Field[Any, Any], row: models.Model) -> Any:
    value = getattr(row, field.attname)
    if isinstance(value, dt.datetime) and connection.vendor == "sqlite":
        return text(value)
    return field.get_db_prep_save(value, connection)
