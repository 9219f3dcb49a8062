"""What a horse records of one turn, and what Redis is told of it."""

from __future__ import annotations

import datetime as dt
import pickle
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, ProgrammingError, connection

import jobs
from jobs import failpoints, mirror, queue, transitions
from jobs.commit import Recorder
from jobs.context import Line
from jobs.lifecycle import Actor, End
from jobs.models import Event, Job, LogLine, MinuteStat
from jobs.outcome import Outcome
from jobs.roster import Roster
from jobs.rows import Row, mirror_entry
from jobs.transitions import Claimed
from jobs.work import Done, Work
from tests.support import lives

pytestmark = pytest.mark.django_db


class Turns:
    def __init__(self) -> None:
        lease_id = lives.open_lease()
        self.recorder = Recorder(lease_id, "w1")
        self.running = Roster()

    def claim(self, ids: Sequence[uuid.UUID]) -> list[Claimed]:
        done = self.recorder.commit(Work([], ids, [], False, {}))
        return [claimed for claimed, _ in self.running.begin(done.opened, threading.Event())]

    def end(self, claimed: Sequence[Claimed], ends: Sequence[End]) -> Done:
        outcomes = [
            Outcome.of(lives.ended(one.row, end, result='{"a": 1}' if end is End.RETURNED else None), one.row, 0.1)
            for one, end in zip(claimed, ends, strict=True)
        ]
        return self.recorder.commit(Work(outcomes, [], [], False, self.running))


def expect_true(done: Done, ids: Sequence[uuid.UUID]) -> None:
    """Redis is told of each job once, and what it is told is how it stands in the database."""
    told = queue.turn_for(done.moved, entries=done.entries).mirrors
    stored = [mirror_entry(row) for row in mirror.rows_of(ids)]
    assert sorted(told) == sorted(stored)
    assert sum(MinuteStat.objects.values_list("count", flat=True)) == len(ids)


def test_those_who_plainly_succeed_are_mirrored_as_they_stand_in_the_database() -> None:
    turns, ids = Turns(), [lives.submit() for _ in range(3)]
    done = turns.end(turns.claim(ids), [End.RETURNED] * 3)
    assert len(done.entries) == 3
    expect_true(done, ids)


def test_with_debug_what_was_stored_does_not_stay_in_memory(settings: Any) -> None:
    settings.DEBUG = True
    turns = Turns()
    for _ in range(3):
        turns.end(turns.claim([lives.submit()]), [End.RETURNED])
    most = len(connection.queries_log)
    for _ in range(30):
        turns.end(turns.claim([lives.submit()]), [End.RETURNED])
    assert len(connection.queries_log) <= most


def test_beside_failures_as_well() -> None:
    turns, ids = Turns(), [lives.submit() for _ in range(4)]
    done = turns.end(turns.claim(ids), [End.RAISED, End.RETURNED, End.PERMANENT, End.RETURNED])
    assert len(done.entries) == 2
    expect_true(done, ids)


def test_whose_row_has_changed_meanwhile_is_mirrored_as_it_is_now() -> None:
    turns, ids = Turns(), [lives.submit() for _ in range(3)]
    claimed = turns.claim(ids)
    transitions.request_cancel([ids[1]], actor=Actor.CLIENT, who="alice")
    done = turns.end(claimed, [End.RETURNED] * 3)
    assert not done.entries
    assert {row.version for row in done.moved if row.id == ids[1]} == {4}
    expect_true(done, ids)


def test_a_row_that_is_not_in_its_place_any_more_is_found_by_its_id() -> None:
    """VACUUM may number the rows of SQLite anew while a job runs."""
    turns, ids = Turns(), [lives.submit() for _ in range(2)]
    one, other = turns.claim(ids)
    moved = Claimed(one.row._replace(place=other.row.place), one.payload, one.timeout_s)
    done = turns.end([moved], [End.RETURNED])
    assert [(row.id, row.status) for row in done.moved] == [(ids[0], "succeeded")]
    assert [row.status for row in mirror.rows_of([ids[1]])] == ["running"]
    assert list(Event.objects.filter(event="succeed").values_list("job_id", flat=True)) == [ids[0]]
    expect_true(done, [ids[0]])


def test_handlers_and_callers_are_given_uuids_of_the_very_type() -> None:
    """orjson, for one, knows no other."""
    new, again = (jobs.submit("echo", key="k") for _ in range(2))
    (claimed,) = Turns().claim([new.id])
    found = [new.id, again.id, lives.context_of(claimed).id]
    assert found == [new.id] * 3
    assert {type(job_id) for job_id in found} == {uuid.UUID}
    copied = pickle.loads(pickle.dumps(claimed.row.id))  # on its way to a process of its own
    assert (copied, str(copied), copied.hex) == (new.id, str(new.id), new.id.hex)


# --- what cannot be stored, and outages in between --------------------------------------------------------

NO_JSON = "{"


class Fault:
    """So many statements about statistics, which end each transaction with outcomes, raise an error after some that do not."""

    def __init__(self, error: Exception, *, after: int = 0, times: int = 1) -> None:
        self.error, self.after, self.left = error, after, times

    def __call__(self, execute: Any, sql: str, *arguments: Any) -> Any:
        if "INTO jobs_minutestat" in sql and self.left:
            if not self.after:
                self.left -= 1
                raise self.error
            self.after -= 1
        return execute(sql, *arguments)


def statuses(ids: Sequence[uuid.UUID]) -> list[str]:
    found = dict(Job.objects.values_list("id", "status"))
    return [found[job_id] for job_id in ids]


def line(message: str) -> Line:
    return Line(dt.datetime.now(dt.UTC), "info", message)


def outcome(row: Row, result: str | None = None, lines: Sequence[Line] = ()) -> Outcome:
    return Outcome.of(lives.ended(row, End.RETURNED, result=result), row, 0.1, lines)


@pytest.mark.django_db(transaction=True)
def test_an_error_that_is_not_the_outcomes_fault_fails_no_job() -> None:
    turns, ids = Turns(), [lives.submit() for _ in range(2)]
    claimed = turns.claim(ids)
    fault = Fault(ProgrammingError("a column is missing"), times=3)  # for all, for the first alone, for its failure
    with connection.execute_wrapper(fault):
        turns.end(claimed, [End.RETURNED] * 2)
    assert fault.left == 0
    assert statuses(ids) == ["succeeded"] * 2


@pytest.mark.django_db(transaction=True)
def test_what_cannot_be_stored_and_an_outage_in_one_turn_release_no_claim() -> None:
    turns, ids = Turns(), [lives.submit() for _ in range(3)]
    bad, good = turns.claim(ids[:2])
    work = Work([outcome(bad.row, NO_JSON), outcome(good.row)], [ids[2]], [], False, turns.running)
    fault = Fault(OperationalError("the server is away"), after=1, times=2)  # after the bad one's failure
    with connection.execute_wrapper(fault):
        done = turns.recorder.commit(work)
    assert fault.left == 0
    assert statuses(ids) == ["failed", "succeeded", "running"]
    assert [Claimed.of(text).row.id for text in done.opened] == [ids[2]]
    assert {row.id for row in done.moved} == set(ids[:2])
    assert not Event.objects.filter(event="release").exists()


def test_lines_of_those_who_run_are_kept_beside_what_cannot_be_stored() -> None:
    turns, ids = Turns(), [lives.submit() for _ in range(2)]
    bad, other = turns.claim(ids)
    turns.recorder.commit(Work([outcome(bad.row, NO_JSON)], [], [(other.row, [line("kept")])], False, turns.running))
    assert statuses(ids) == ["failed", "running"]
    assert list(LogLine.objects.values_list("job_id", "message")) == [(ids[1], "kept")]


@pytest.mark.django_db(transaction=True)
def test_a_commit_whose_answer_was_lost_stores_lines_once_and_tells_redis_all(tmp_path: Path) -> None:
    turns, ids = Turns(), [lives.submit() for _ in range(2)]
    one, other = turns.claim(ids)
    failpoints.arm((failpoints.Point("finish.after_commit", 1, "drop"),), tmp_path)
    try:
        over = outcome(one.row, lines=[line("of one that is over")])
        done = turns.recorder.commit(Work([over], [], [(other.row, [line("of one that runs")])], False, turns.running))
    finally:
        failpoints.arm((), tmp_path)
    assert statuses(ids) == ["succeeded", "running"]
    assert sorted(LogLine.objects.values_list("message", flat=True)) == ["of one that is over", "of one that runs"]
    expect_true(done, ids[:1])
