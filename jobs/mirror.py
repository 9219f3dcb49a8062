"""The mirror: each job's status document in Redis, for cheap polling.

`jobs:status:<id>` holds `{"v": …, "owner": client, "status": {…}}`; `v` is 24 hex digits of epoch, row
version and progress number, and only something newer overwrites it (lua/turn.lua). Nothing is decided
from it: `succeeded` is believed as it stands, everything else for `mirror_trust_s`, and both only
within the present epoch of our own database; otherwise the database answers and the mirror is mended.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import redis

from jobs import owner, queue
from jobs.conf import conf
from jobs.rows import Row, columns, fetch, mirror_entry
from jobs.sql import db_id, marks

STATUS = "jobs:status:"
EPOCH = "jobs:epoch"

LOOK = """
local found = redis.call('MGET', KEYS[1], KEYS[2])
for i = 3, #KEYS do
  found[2 * i - 3], found[2 * i - 2] = redis.call('GET', KEYS[i]), redis.call('PTTL', KEYS[i])
end
return found
"""
LOOK_SHA = hashlib.sha1(LOOK.encode(), usedforsecurity=False).hexdigest()
"""A script, since making redis-py's pipeline object costs more than the round trip."""

_quiet_until = 0.0


def epoch_text(epoch: int) -> str:
    """Eight hex digits, as they stand in EPOCH and at the head of each `v`."""
    return f"{epoch:08x}"


@dataclass(frozen=True, slots=True)
class Entry:
    """What Redis holds of a job in the present epoch."""

    version: int
    owner: str
    status: dict[str, Any]
    is_fresh: bool
    """Whether it may be believed without asking the database."""


def peek(job_id: uuid.UUID) -> Entry | None:
    """The mirror's entry, in one round trip; None when there is none, or Redis is away."""
    return peek_all([job_id])[0]


def peek_all(ids: Sequence[uuid.UUID]) -> list[Entry | None]:
    """The mirror's entries of many jobs, in one round trip."""
    global _quiet_until
    if time.monotonic() < _quiet_until:
        return [None] * len(ids)
    try:
        mark, epoch, *found = _look([f"{STATUS}{job_id}" for job_id in ids])
    except Exception:  # whatever a client of Redis raises: the database knows
        _quiet_until = time.monotonic() + conf().breaker_s
        return [None] * len(ids)
    if owner.is_rival(mark):
        return [None] * len(ids)
    return [_entry(raw, left_ms, epoch) for raw, left_ms in zip(found[::2], found[1::2], strict=True)]


def _entry(raw: bytes | None, left_ms: int, epoch: bytes | None) -> Entry | None:
    if raw is None:
        return None
    try:
        document = orjson.loads(raw)
        stamp, owner, status = document["v"], document["owner"], document["status"]
        version, is_succeeded = int(stamp[8:16], 16), status["status"] == "succeeded"
    except (ValueError, TypeError, KeyError):  # somebody else wrote there
        return None
    if stamp[:8].encode() != (epoch or b"00000000"):
        return None
    age_s = conf().mirror_ttl_s - left_ms / 1000
    return Entry(version, owner, status, is_succeeded or age_s <= conf().mirror_trust_s)


def _look(keys: Sequence[str]) -> list[Any]:
    """The owner's mark and the present epoch; then of each key the entry and the milliseconds it has left."""
    broker = queue.broker()
    try:
        found: Any = broker.evalsha(LOOK_SHA, len(keys) + 2, owner.MARK, EPOCH, *keys)
    except redis.exceptions.NoScriptError:
        found = broker.eval(LOOK, len(keys) + 2, owner.MARK, EPOCH, *keys)
    return list(found)


def read_status(job_id: uuid.UUID) -> tuple[str, dict[str, Any]] | None:
    """(owner, status document) of a job, from the mirror or from the database; None: no such job."""
    entry = peek(job_id)
    if entry is not None and entry.is_fresh:
        return entry.owner, entry.status
    rows = rows_of([job_id])
    if not rows:
        return None
    write(rows)
    if entry is not None and entry.version == rows[0].version:
        return entry.owner, entry.status  # the same, and it knows the progress of a running attempt
    return rows[0].client, orjson.loads(orjson.dumps(rows[0].document))


def rows_of(ids: Sequence[uuid.UUID]) -> list[Row]:
    if not ids:
        return []
    return fetch(f"SELECT {columns()} FROM jobs_job WHERE id IN ({marks(len(ids))})", [db_id(i) for i in ids])


def write(rows: Sequence[Row]) -> bool:
    """Mirror rows as they are; whether Redis took them."""
    global _quiet_until
    if time.monotonic() < _quiet_until:
        return False
    try:
        queue.run(queue.Turn(mirrors=[mirror_entry(row) for row in rows]))
    except Exception:  # whatever a client of Redis raises: the database knows
        _quiet_until = time.monotonic() + conf().breaker_s
        return False
    return True
