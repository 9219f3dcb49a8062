"""Leader: which housekeeper works now. One at a time, by a row with an expiry in the database, wherever processes run.

A housekeeper keeps the row while it works, however long a turn lasts, and stops in mid-turn when another one has the
row. A housekeeper is taken for dead early only where its process can be seen: same kernel, same PID namespace.
"""

from __future__ import annotations

import datetime as dt
import os
import socket
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobs import owner, process
from jobs.database import connection
from jobs.models import Housekeeping
from jobs.models.clock import NOW, after, parse

EXPIRES_S = 3.0
"""How long the row stays with a housekeeper that no longer comes, for those who cannot see its process."""

KEEP_EVERY_S = 1.0
"""How often a turn that takes long renews the row."""

ASK_EVERY_S = 0.1


class TakenOver(Exception):
    """Another housekeeper has the row."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The row as it was taken."""

    beat: int
    epoch: int
    mark: str
    before: dt.datetime | None
    """Until when the row was taken before; in a restored database, the time of the backup and at most EXPIRES_S more."""

    restored_to: dt.datetime | None


class Leader:
    """One candidate. Another one of the same process is another candidate."""

    def __init__(self, place: process.Place) -> None:
        self._place = place
        ours = (
            socket.gethostname()[:40],
            place.boot_id,
            place.pid_namespace,
            os.getpid(),
            process.started(os.getpid()),
        )
        self.identity = "/".join(map(str, (*ours, os.urandom(4).hex())))
        self._told = 0
        self._kept_at = 0.0

    def told(self, beat: int) -> None:
        """Redis has this beat, so the next turn may raise it."""
        self._told = beat

    def take(self, *, is_counted: bool = True) -> Taken | None:
        """The row, if it is free or ours already; None when another housekeeper has it, or asked for it.

        `is_counted`: the beat is raised, if Redis has the present one. So it never runs away from Redis by itself.
        """
        row = Housekeeping.objects.filter(pk=1).values_list("holder", "expires_at", "asked_by").first()
        if row is None:
            Housekeeping.objects.bulk_create([Housekeeping(pk=1)], ignore_conflicts=True)
            row = ("", None, "")
        holder, before, asked_by = row
        if holder == self.identity and asked_by not in ("", self.identity) and self._leave():
            return None
        is_free = holder in ("", self.identity) or self.is_gone(holder)
        # What lasts longer than it may was taken before the clock was set back.
        is_over = f"(expires_at < {NOW} OR expires_at > {after()})"
        condition = f"{'true' if is_free else is_over} AND {_unasked()}"
        bound = [*([] if is_free else [EXPIRES_S]), self.identity, EXPIRES_S]
        if not is_free and not self._run(f"SELECT 1 FROM jobs_housekeeping WHERE id = 1 AND {condition}", bound):
            return None
        found = self._run(
            f"UPDATE jobs_housekeeping SET holder = %s, expires_at = {after()},"
            " beat = CASE WHEN beat = %s THEN beat + 1 ELSE beat END, mark = CASE WHEN mark = '' THEN %s ELSE mark END"
            f" WHERE id = 1 AND holder = %s AND {condition} RETURNING beat, epoch, mark, restored_to",
            [self.identity, EXPIRES_S, self._told if is_counted else -1, uuid.uuid4().hex, holder, *bound],
        )
        if not found:
            return None
        beat, epoch, mark, restored_to = found[0]
        self._kept_at = time.monotonic()
        owner.note(mark)
        return Taken(beat, epoch, mark, before, parse(restored_to))

    def wait(self) -> Taken:
        """Ask for the next turn and wait until nobody else is at work."""
        while True:
            self._run(
                f"UPDATE jobs_housekeeping SET asked_by = %s, asked_until = {after()} WHERE id = 1 AND {_unasked()}"
                " RETURNING id",
                [self.identity, EXPIRES_S, self.identity, EXPIRES_S],
            )
            if (taken := self.take(is_counted=False)) is not None:
                return taken
            time.sleep(ASK_EVERY_S)

    def keep(self) -> bool:
        """Called between the steps of a turn; whether the row was renewed. Raises TakenOver."""
        if time.monotonic() - self._kept_at < KEEP_EVERY_S:
            return False
        self._change(
            f"expires_at = {after()}, asked_until = CASE WHEN asked_by = %s THEN {after()} ELSE asked_until END",
            [EXPIRES_S, self.identity, EXPIRES_S],
        )
        self._kept_at = time.monotonic()
        return True

    def raise_epoch(self, epoch: int) -> None:
        self._change(f"epoch = %s, rebuilt_at = {NOW}", [epoch])

    def begin_history(self, restored_to: dt.datetime | None) -> str:
        """The database was restored. Its new mark, since what it was before may go on beside it."""
        mark = uuid.uuid4().hex
        value = None if restored_to is None else connection.ops.adapt_datetimefield_value(restored_to)
        self._change("mark = %s, restored_to = %s", [mark, value])
        owner.note(mark)
        return mark

    def give_back(self) -> None:
        """The end of a turn that was asked for."""
        mine = "CASE WHEN asked_by = %s THEN '' ELSE asked_by END"
        sql = f"UPDATE jobs_housekeeping SET holder = '', asked_by = {mine} WHERE id = 1 AND holder = %s RETURNING id"
        self._run(sql, [self.identity, self.identity])

    def is_gone(self, identity: str) -> bool:
        """Whether it is of a process that is no more: one whose kernel and PID namespace we share."""
        try:
            _, boot_id, pid_namespace, pid, started, _ = identity.rsplit("/", 5)
            is_here = boot_id != "" and process.Place(boot_id, pid_namespace) == self._place
            return is_here and not process.is_alive(int(pid), int(started))
        except ValueError:
            return False

    def is_of_this_process(self, identity: str) -> bool:
        ours, _, _ = self.identity.rpartition("/")
        return self._place.boot_id != "" and identity.rpartition("/")[0] == ours

    def _leave(self) -> bool:
        """Somebody asked for the next turn: let it have the row. False where that was long ago."""
        sql = f"UPDATE jobs_housekeeping SET holder = '' WHERE id = 1 AND holder = %s AND NOT {_unasked()} RETURNING id"
        return bool(self._run(sql, [self.identity, self.identity, EXPIRES_S]))

    def _change(self, changes: str, parameters: Sequence[Any]) -> None:
        sql = f"UPDATE jobs_housekeeping SET {changes} WHERE id = 1 AND holder = %s RETURNING id"
        if not self._run(sql, [*parameters, self.identity]):
            raise TakenOver

    def _run(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall())


def _unasked() -> str:
    """Nobody else asked for the next turn. Parameters: the own identity, EXPIRES_S."""
    return f"(asked_by IN ('', %s) OR asked_until < {NOW} OR asked_until > {after()})"
