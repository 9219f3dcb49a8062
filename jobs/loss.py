"""Loss: what Redis holds of the database's beat, epoch and mark tells whether it lost something.

It also tells whether the database is older than Redis, so restored from a backup, and whether Redis serves another
database (`owner.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import cast

from jobs import mirror, owner, queue, queue_names
from jobs.conf import conf
from jobs.database import connection
from jobs.models import Housekeeping

BEAT = "jobs:beat"
"""`<epoch>:<beat>`: what the last housekeeper copied from the database."""

ON_THEIR_WAY = 20
"""So few queued jobs may well be in no list: popped a moment ago and not claimed yet, or committed and not pushed yet."""

BEHIND = 5
"""Beats that Redis may be behind without having lost anything but what `repush_lost` finds by itself."""

MOST_EPOCH = 2**31
"""From here on an epoch of Redis does not raise the database's: nobody counts so far. It is known again where it has that one."""


class Found(Enum):
    """What Redis turned out to be."""

    WELL = "well"
    LOST = "it lost something"
    LEFT = "it served another database, which is gone"
    AHEAD = "the database is older than Redis: it was restored"
    RIVAL = "it serves another database"


@dataclass(frozen=True, slots=True)
class Look:
    found: Found
    epoch: int
    """The highest that Redis knows of."""

    beat: int
    owner: str
    """The identity of the housekeeper that wrote last; '' where its entry has expired."""


def look(beat: int, epoch: int, mark: str, is_gone: Callable[[str], bool]) -> Look:
    """Compare Redis with the database's row. `is_gone` says of a housekeeper's identity that it is no more, or is ours.

    Before the first turn of all there was nobody to make a copy; then the lists tell.
    """
    keys = (BEAT, mirror.EPOCH, owner.MARK, owner.ALIVE)
    copy, its_epoch, its_mark, alive = cast("list[bytes | None]", queue.broker().mget(keys))
    redis_epoch = _epoch(its_epoch)
    try:
        copied = tuple(int(part) for part in (copy or b"").split(b":"))
        copied_epoch, copied_beat = copied
    except ValueError:
        copied_epoch = copied_beat = 0
    highest = max((known for known in (redis_epoch, copied_epoch) if 0 < known < MOST_EPOCH), default=0)
    writer = (alive or b"").decode("ascii", "replace")

    def judged() -> Found:
        if its_mark is not None and its_mark.decode("ascii", "replace") != mark:
            return Found.RIVAL if writer and not is_gone(writer) else Found.LEFT
        if highest > epoch or (copied_epoch == epoch and copied_beat > beat):
            return Found.AHEAD
        if copy is None and epoch == 1 and beat <= 1:
            return Found.LOST if _is_half_missing() else Found.WELL
        # Until the first loss there is no epoch, which counts as 0.
        is_epoch_known = redis_epoch == epoch or (its_epoch is None and epoch == 1)
        is_near = copied_epoch == epoch and copied_beat >= beat - BEHIND
        return Found.WELL if is_epoch_known and is_near else Found.LOST

    return Look(judged(), highest, copied_beat, writer)


def _epoch(text: bytes | None) -> int:
    """As Redis holds it; 0 where it has none, or what somebody else wrote."""
    try:
        value = int(text or b"0", 16)
    except ValueError:
        return 0
    return value if len(text or b"") == 8 else 0


def _is_half_missing() -> bool:
    """Whether the lists hold less than half of what is queued. If what may be on its way is missing for good,
    `repush_lost` finds it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM jobs_job WHERE status = 'queued'")
        (queued,) = cursor.fetchone()
    held = sum(queue.broker().llen(queue.LIST + name) for name in queue_names.known())
    return bool(queued > 2 * held + ON_THEIR_WAY)


def rival() -> str | None:
    """A sentence where this Redis serves another database, for people; None where it is ours. Raises queue.OUTAGE."""
    ours = _mark()
    theirs, writer = cast("list[bytes | None]", queue.broker().mget(owner.MARK, owner.ALIVE))
    if not ours or theirs is None or theirs.decode("ascii", "replace") == ours:
        return None
    host = (writer or b"").decode("ascii", "replace").partition("/")[0]
    return (
        f"this Redis and database number serve another database (mark {theirs.decode('ascii', 'replace')[:32]},"
        f" its housekeeping {f'runs on {host}' if host else 'is silent'}; the mark of this database is {ours})"
    )


def count_schedulers() -> int:
    """Our schedulers that are alive. Raises queue.OUTAGE."""
    ours = _mark()
    return sum(mark == ours for mark, _ in _alive(_schedulers()))


def hosts_of_others() -> set[str]:
    """Where workers and schedulers of another database run that uses this Redis. Raises queue.OUTAGE."""
    ours = _mark()
    workers = cast("set[bytes]", queue.broker().smembers("rq:workers"))
    return {host for mark, host in _alive([*_schedulers(), *workers]) if mark not in ("", ours)}


def _mark() -> str:
    return Housekeeping.objects.filter(pk=1).values_list("mark", flat=True).first() or ""


def _schedulers() -> Iterator[bytes]:
    """What schedulers keep alive under rq-scheduler's name for it."""
    return cast("Iterator[bytes]", queue.broker().scan_iter("rq:scheduler_instance:*", count=1000, _type="HASH"))


def _alive(keys: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    """(mark, host) of what has not ended; '' for the mark of what is plain RQ's."""
    for key in keys:
        found = queue.broker().hmget(key, owner.FIELD, "hostname", "death")
        mark, host, death = cast("list[bytes | None]", found)
        if death is None:
            yield (mark or b"").decode("ascii", "replace"), (host or b"").decode("utf-8", "replace")


def copy_beat(beat: int, epoch: int, mark: str, identity: str) -> None:
    pipeline = queue.broker().pipeline(transaction=False)
    pipeline.mset({BEAT: f"{epoch}:{beat}", owner.MARK: mark})
    pipeline.set(owner.ALIVE, identity, ex=alive_s())
    pipeline.execute()


def stay_alive(identity: str) -> None:
    """During a long turn. Does nothing where another database wrote last."""
    queue.broker().set(owner.ALIVE, identity, ex=alive_s(), xx=True)


def alive_s() -> int:
    """As long as a silent worker is not taken for dead."""
    return max(3, math.ceil(conf().lease_s))
