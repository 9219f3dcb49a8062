"""What a horse writes in one turn: outcomes, statistics, log lines and claims, in one transaction.

A row that cannot be stored does not fail its group; one that somebody else has locked waits beside the next groups;
an outage is waited out, since the fence makes every statement safe to repeat; a commit whose answer was lost is cleared
up by reading.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace

from django.db import DatabaseError, InterfaceError

from jobs import failpoints, leases, mirror, polls, stats, transitions, verdicts
from jobs.context import Line
from jobs.database import after_commit, atomic, connection
from jobs.leftovers import forget_queries
from jobs.lifecycle import Actor, End, Status
from jobs.locked import Waiting, apart
from jobs.outcome import Outcome, insert_lines, say
from jobs.rows import Row
from jobs.sql import is_lock, is_outage, is_postgresql
from jobs.work import Done, Work

log = logging.getLogger("jobs.commit")

PAUSES_S = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Waits between tries while the database is away, in seconds; the last one repeats."""


class Recorder:
    """The horse's one writer; its thread's connection is its own."""

    def __init__(self, lease_id: uuid.UUID, worker: str) -> None:
        self._lease_id = lease_id
        self._worker = worker
        self.waiting = Waiting()

    def commit(self, work: Work, *, is_repeat: bool = False) -> Done:
        """One transaction; returns when it is committed, however long the database is away.

        The parent ends the horse when it can no longer renew the lease, so this does not wait for ever.
        `is_repeat` says that some of it may be committed already.
        """
        forget_queries()
        is_careful = False
        for pause_s in _pauses():
            is_at_once = _is_at_once(work) and not is_repeat
            has_stats = not (is_careful or self.waiting.sums)
            try:
                ended = transitions.prepare([outcome.ended for outcome in work.outcomes])
                with nullcontext() if is_at_once else atomic():
                    free, locked = apart(work.outcomes) if is_careful else (work.outcomes, ())
                    if locked:
                        ended = transitions.prepare([outcome.ended for outcome in free])
                    written = replace(work, outcomes=free) if locked else work
                    done = self._write(written, ended, is_repeat=is_repeat, has_stats=has_stats)
                if done.opened:
                    failpoints.hit("claim.after_commit")
                if free:
                    failpoints.hit("finish.after_commit")
                if not has_stats:
                    self._count_later(free, done)
                if is_repeat:
                    done.moved += self._already_recorded(free, done)
                after_commit(say, free, done.moved[len(done.entries) :])
                self.waiting.add(locked)
                if work.is_tick:
                    done.moved += self._record_waiting()
                return done
            except (DatabaseError, InterfaceError) as error:
                is_repeat |= is_at_once  # what came before the error is committed
                if is_lock(error) and not is_careful:
                    is_careful = True
                    continue
                if not is_outage(error):
                    if work.outcomes:
                        return self._one_by_one(work, is_repeat=is_repeat)
                    if not work.wanted and not work.lines:
                        raise
                    log.error("jobs cannot be claimed, or log lines not stored: %s", type(error).__name__)
                    work = replace(work, wanted=(), lines=())
                    continue
                log.warning("the database did not commit: %s", str(error).strip().partition("\n")[0])
                if not is_lock(error):  # else somebody has locked a whole table
                    connection.close()
                    is_repeat = True
                    work = replace(work, wanted=())  # ids that are not claimed stay queued, and are found
                time.sleep(pause_s)
        raise AssertionError("unreachable")

    def _write(
        self, work: Work, ended: transitions.Prepared, *, is_repeat: bool = False, has_stats: bool = True
    ) -> Done:
        done = Done()
        if work.lines:
            insert_lines(_of_live(work.lines), is_repeat=is_repeat)
        if work.outcomes:
            done.moved = transitions.end_attempts(ended, actor=Actor.WORKER, who=self._worker)
            done.entries = ended.successes.entries if ended.successes else ()
            failpoints.hit("finish.before_commit")
            if said := [(outcome.row, outcome.lines) for outcome in work.outcomes if outcome.lines]:
                moved = {row.id for row in done.moved}
                insert_lines([(row, lines) for row, lines in said if row.id in moved])
        if work.is_tick or is_repeat:
            done.cancelled, strangers = self._look(work)
            done.moved += strangers
            done.taken_back = [row for row in strangers if row.status == Status.QUEUED]
        if work.wanted:
            done.opened = transitions.open_attempts(work.wanted, lease_id=self._lease_id, worker=self._worker)
            done.is_revoked = not done.opened and leases.is_revoked(self._lease_id)
        if work.is_tick:
            done.paused = polls.paused_queues()
        if has_stats:  # last, since other horses want the same rows
            stats.store(stats.summed(_ended(work.outcomes, done), self._worker))
        return done

    def _count_later(self, outcomes: Sequence[Outcome], done: Done) -> None:
        stats.merge(self.waiting.sums, stats.summed(_ended(outcomes, done), self._worker))

    def _record_waiting(self) -> list[Row]:
        """Record what waited for locked rows and need not wait longer; the rows that moved."""
        done = Done()

        def write(free: Sequence[Outcome]) -> None:
            nonlocal done
            ends = transitions.prepare([outcome.ended for outcome in free])
            done = self._write(Work(free, (), (), False, {}), ends, has_stats=False)

        free = self.waiting.try_outcomes(write)
        if free:
            self._count_later(free, done)
            say(free, done.moved[len(done.entries) :])
            done.moved += self._already_recorded(free, done)
        self.waiting.try_sums()
        return done.moved if free else []

    def _look(self, work: Work) -> tuple[list[uuid.UUID], list[Row]]:
        """(running jobs whose cancel was requested, jobs that run under our lease, but not here: taken back).

        The claim of the latter was committed, maybe long after its connection was cut, and its answer was lost.
        """
        found = polls.running(self._lease_id)
        here = {(job.claimed.row.id, job.claimed.row.version) for job in work.running.values()}
        here.update((outcome.row.id, outcome.row.version) for outcome in (*work.outcomes, *self.waiting.outcomes))
        strangers = {claim[0] for claim, _ in found if claim not in here}
        taken_back = []
        if strangers:
            with atomic():
                rows = [row for row in transitions.running_of(self._lease_id) if row.id in strangers]
                ends = verdicts.taken_back(rows)
                taken_back = transitions.end_attempts(ends, actor=Actor.WORKER, who=self._worker)
        cancelled = [claim[0] for claim, is_cancelled in found if is_cancelled]
        return cancelled, taken_back

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
                    after_commit(say, tried.outcomes, done.moved[len(done.entries) :])
                    return done.moved + (self._already_recorded(tried.outcomes, done) if is_repeat else [])
                except (DatabaseError, InterfaceError) as error:
                    if is_outage(error):
                        return self.commit(tried, is_repeat=is_repeat).moved
                    log.warning("job %s: its outcome cannot be stored: %s", outcome.row.id, type(error).__name__)
            time.sleep(pause_s)
        raise AssertionError("unreachable")

    def _already_recorded(self, outcomes: Sequence[Outcome], done: Done) -> list[Row]:
        """Outcomes whose first commit did happen: as they are now, for Redis."""
        moved = {row.id for row in done.moved}
        return mirror.rows_of([o.row.id for o in outcomes if o.row.id not in moved])


def _of_live(lines: Sequence[tuple[Row, Sequence[Line]]]) -> list[tuple[Row, Sequence[Line]]]:
    """The lines of those attempts that still have their lease."""
    live = transitions.live_ids([row for row, _ in lines])
    return [(row, said) for row, said in lines if row.id in live]


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
    return [(o.row, row, o.run_s) for o in outcomes if o.ended.end is not End.UNBEGUN and (row := now.get(o.row.id))]
