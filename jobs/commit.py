"""What a horse writes in one turn: outcomes, statistics, log lines and claims, in one transaction.

A row that cannot be stored does not fail its group; an outage is waited out, since the fence makes
every statement safe to repeat; a commit whose answer was lost is cleared up by reading.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

from django.db import DatabaseError, InterfaceError

from jobs import failpoints, leases, mirror, stats, transitions
from jobs.context import Line
from jobs.database import atomic, connection
from jobs.lifecycle import Actor, End
from jobs.models.clock import after
from jobs.outcome import Outcome, insert_lines, say
from jobs.rows import Entry, Row
from jobs.sql import db_id, is_outage, is_postgresql, py_id

log = logging.getLogger("jobs.commit")

PAUSES_S = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Waits between tries while the database is away, in seconds; the last one repeats."""


@dataclass(frozen=True, slots=True)
class Work:
    outcomes: Sequence[Outcome]
    wanted: Sequence[uuid.UUID]
    lines: Sequence[tuple[Row, Sequence[Line]]]
    is_tick: bool
    running: Collection[uuid.UUID]
    """What this horse runs, outcomes included."""


@dataclass(slots=True)
class Done:
    moved: list[Row] = field(default_factory=list)
    entries: Sequence[Entry] = ()
    """Of the first of these rows, for Redis, which are all jobs that plainly succeeded."""

    opened: Sequence[str] = ()
    """What was claimed; each is yet to become a `Claimed.of`."""

    cancelled: list[uuid.UUID] = field(default_factory=list)
    paused: list[str] = field(default_factory=list)
    is_revoked: bool = False
    """Nothing that was wanted could be claimed, because somebody took this horse for dead."""


class Recorder:
    """The horse's one writer; its thread's connection is its own."""

    def __init__(self, lease_id: uuid.UUID, worker: str) -> None:
        self._lease_id = lease_id
        self._worker = worker

    def commit(self, work: Work, *, is_repeat: bool = False) -> Done:
        """One transaction; returns when it is committed, however long the database is away.

        The parent ends the horse when it can no longer renew the lease, so this does not wait for ever.
        `is_repeat` says that some of it may be committed already.
        """
        for pause_s in _pauses():
            try:
                ended = transitions.prepare([outcome.ended for outcome in work.outcomes])
                with nullcontext() if _is_at_once(work) and not is_repeat else atomic():
                    done = self._write(work, ended, is_repeat=is_repeat)
                if done.opened:
                    failpoints.hit("claim.after_commit")
                if work.outcomes:
                    failpoints.hit("finish.after_commit")
                if is_repeat:
                    done.moved += self._already_recorded(work, done)
                say(work.outcomes, done.moved[len(done.entries) :])
                return done
            except (DatabaseError, InterfaceError) as error:
                if not is_outage(error):
                    if work.outcomes:
                        return self._one_by_one(work, is_repeat=is_repeat)
                    if not work.wanted and not work.lines:
                        raise
                    log.error("jobs cannot be claimed, or log lines not stored: %s", type(error).__name__)
                    work = replace(work, wanted=(), lines=())
                    continue
                log.warning("the database did not commit: %s", str(error).strip().partition("\n")[0])
                connection.close()
                is_repeat = True
                work = replace(work, wanted=())  # ids that are not claimed stay queued, and are found
                time.sleep(pause_s)
        raise AssertionError("unreachable")

    def _write(self, work: Work, ended: transitions.Prepared, *, is_repeat: bool = False) -> Done:
        done = Done()
        if work.outcomes:
            done.moved = transitions.end_attempts(ended, actor=Actor.WORKER, who=self._worker)
            done.entries = ended.successes.entries if ended.successes else ()
            failpoints.hit("finish.before_commit")
        insert_lines([*work.lines, *((o.row, o.lines) for o in work.outcomes if o.lines)], is_repeat=is_repeat)
        if is_repeat:
            done.moved += self._release_strangers(work)
        if work.wanted:
            done.opened = transitions.open_attempts(work.wanted, lease_id=self._lease_id, worker=self._worker)
            done.is_revoked = not done.opened and leases.is_revoked(self._lease_id)
        if work.is_tick:
            done.cancelled, done.paused = self._look(is_running=bool(work.running))
        stats.add(_ended(work.outcomes, done), self._worker)  # last, since other horses want the same rows
        return done

    def _one_by_one(self, work: Work, *, is_repeat: bool) -> Done:
        """A statement failed: find the row that cannot be stored, and fail that job alone. Claims come last: until this
        returns nobody knows of them, and an outage would release them as strangers."""
        log.warning("a group of %d could not be stored as a whole; one by one", len(work.outcomes))
        moved: list[Row] = []
        for outcome in work.outcomes:
            alone = replace(work, outcomes=(outcome,), wanted=(), lines=(), is_tick=False)
            moved += self._alone(alone, is_repeat=is_repeat)
        total = self.commit(replace(work, outcomes=()), is_repeat=is_repeat)
        total.moved += moved
        return total

    def _alone(self, work: Work, *, is_repeat: bool) -> list[Row]:
        """The rows moved by the one outcome of `work`; if it cannot be stored, by the failure of its job. Where that
        cannot be stored either it is not the outcome's fault, and both are tried again."""
        (outcome,) = work.outcomes
        unstorable = outcome.ended._replace(
            end=End.PERMANENT, result=None, progress=None, error_code="unstorable",
            error_message="the database could not store the outcome", error_text=None,
        )  # fmt: skip
        failed = replace(work, outcomes=(Outcome.of(unstorable, outcome.row, outcome.run_s),))
        for pause_s in _pauses():
            for tried in (work, failed):
                try:
                    ended = transitions.prepare([one.ended for one in tried.outcomes])
                    with atomic():
                        done = self._write(tried, ended, is_repeat=is_repeat)
                    say(tried.outcomes, done.moved[len(done.entries) :])
                    return done.moved + (self._already_recorded(tried, done) if is_repeat else [])
                except (DatabaseError, InterfaceError) as error:
                    if is_outage(error):
                        return self.commit(tried, is_repeat=is_repeat).moved
                    log.warning("job %s: its outcome cannot be stored: %s", outcome.row.id, type(error).__name__)
            time.sleep(pause_s)
        raise AssertionError("unreachable")

    def _release_strangers(self, work: Work) -> list[Row]:
        """Jobs that are running under our lease, but not here: their claim was committed and its answer lost."""
        strangers = [row for row in transitions.running_of(self._lease_id) if row.id not in work.running]
        if not strangers:
            return []
        return transitions.end_attempts(leases.released(strangers), actor=Actor.WORKER, who=self._worker)

    def _already_recorded(self, work: Work, done: Done) -> list[Row]:
        """Outcomes whose first commit did happen: as they are now, for Redis."""
        moved = {row.id for row in done.moved}
        return mirror.rows_of([o.row.id for o in work.outcomes if o.row.id not in moved])

    def _look(self, *, is_running: bool) -> tuple[list[uuid.UUID], list[str]]:
        """(running jobs whose cancel was requested, names of paused queues)."""
        cancelled = []
        with connection.cursor() as cursor:
            if is_running:
                cursor.execute(
                    "SELECT id FROM jobs_job WHERE lease_id = %s AND status = 'running' AND cancel_requested_at IS NOT NULL",
                    [db_id(self._lease_id)],
                )
                cancelled = [py_id(row[0]) for row in cursor.fetchall()]
            cursor.execute("SELECT name FROM jobs_queuestate WHERE paused_at IS NOT NULL")
            return cancelled, [row[0] for row in cursor.fetchall()]

    def oldest_queued(
        self, queue_names: Sequence[str], limit: int, *, older_than_s: float = 0.0
    ) -> list[tuple[uuid.UUID, str]]:
        """What would be at the heads of the lists, were Redis there; [] while the database is away too."""
        found: list[tuple[uuid.UUID, str]] = []
        try:
            with connection.cursor() as cursor:
                for name in queue_names:
                    if len(found) < limit:
                        cursor.execute(
                            "SELECT id FROM jobs_job WHERE status = 'queued' AND queue = %s"
                            f" AND queued_at <= {after()} ORDER BY queued_at LIMIT {limit - len(found)}",
                            [name, -older_than_s],
                        )
                        found += [(py_id(row[0]), name) for row in cursor.fetchall()]
        except (DatabaseError, InterfaceError):
            connection.close()
        return found


def _is_at_once(work: Work) -> bool:
    """Nothing is written, or by one statement, which commits by itself (as claims on PostgreSQL do)."""
    return not (work.outcomes or work.lines) and (is_postgresql() or not work.wanted)


def _pauses() -> Iterator[float]:
    yield from PAUSES_S
    while True:
        yield PAUSES_S[-1]


def _ended(outcomes: Sequence[Outcome], done: Done) -> list[tuple[Row, Row, float]]:
    """(row as claimed, row as it is now, seconds of running) of what was recorded."""
    if len(done.entries) == len(outcomes):  # all of them plainly succeeded
        return [
            (outcome.row, row, outcome.run_s)
            for outcome, row in zip(outcomes, done.moved[: len(outcomes)], strict=True)
        ]
    now = {row.id: row for row in done.moved}
    return [(o.row, row, o.run_s) for o in outcomes if (row := now.get(o.row.id))]
