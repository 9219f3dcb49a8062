"""Due: a schedule as a tick sees it. A tuple, since a tick may read ten thousand of them each second."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import orjson

from jobs.database import connection
from jobs.models import Schedule, clock
from jobs.sql import as_raw, db_time, py_id

_TIMES = ("starts_at", "ends_at", "pointer", "buffered_slot", "streak_since")


class Due(NamedTuple):
    """Columns of `Schedule`, under their names; JSON is text until somebody asks for it."""

    pk: int
    name: str
    type: str
    payload_text: str
    queue: str
    cron: str
    every_s: int | None
    anchor: dt.datetime | None
    """None where there is a cron expression."""

    time_zone: str
    starts_at: dt.datetime | None
    ends_at: dt.datetime | None
    catch_up: str
    catch_up_window_s: int
    catch_up_max: int
    overlap: str
    jitter_s: int
    pause_after_failures: int
    pointer: dt.datetime | None
    buffered_slot: dt.datetime | None
    version: int
    last_job_id: uuid.UUID | None
    recent_text: str
    streak_since: dt.datetime | None
    paused_because: str

    @property
    def recent(self) -> list[list[Any]]:
        found: list[list[Any]] = orjson.loads(self.recent_text)
        return found

    @classmethod
    def of(cls, schedule: Schedule) -> Due:
        texts = {"payload_text": schedule.payload, "recent_text": schedule.recent}
        columns = (
            orjson.dumps(texts[name]).decode() if name in texts else getattr(schedule, name) for name in cls._fields
        )
        return cls._make(columns)


def due_ids(now: dt.datetime) -> list[int]:
    """Ids of the schedules that have to be looked at by `now`, in their order."""
    its_time = "SELECT id FROM jobs_schedule WHERE enabled AND due_at"
    with connection.cursor() as cursor:  # two searches of one index: for an OR, SQLite reads all schedules
        cursor.execute(f"{its_time} <= %s UNION ALL {its_time} IS NULL", [db_time(now)])
        return sorted(raw[0] for raw in cursor.fetchall())


def read(ids: Sequence[int]) -> list[Due]:
    """Those of these schedules that are enabled, in the order of their ids."""
    with connection.cursor() as cursor:
        cursor.execute(f"{_select()} WHERE id IN ({', '.join(map(str, ids))}) AND enabled ORDER BY id")
        return [_due(raw) for raw in cursor.fetchall()]


@cache
def _select() -> str:
    names = {
        "pk": "id",
        "payload_text": "payload",
        "recent_text": "recent",
        "anchor": "CASE WHEN cron = '' THEN anchor END",
        **{name: as_raw(name) for name in _TIMES},
    }
    return f"SELECT {', '.join(names.get(name, name) for name in Due._fields)} FROM jobs_schedule"


def _due(raw: Sequence[Any]) -> Due:
    last_job_id = None if raw[20] is None else py_id(raw[20])
    return Due._make(
        (
            *raw[:7], moment(raw[7]), raw[8], moment(raw[9]), moment(raw[10]), *raw[11:17], moment(raw[17]),
            moment(raw[18]), raw[19], last_job_id, raw[21], moment(raw[22]), raw[23],
        )
    )  # fmt: skip


def moment(value: Any) -> dt.datetime | None:
    """`clock.parse`; on SQLite many schedules of a tick have the same texts."""
    return None if value is None else _moment(value) if isinstance(value, str) else clock.parse(value)


_moment = lru_cache(maxsize=4096)(clock.parse)
