"""The protocol as a state machine: random lives keep every promise, and the machine has teeth.

Each of these defects, put in on purpose, is found by it:

| defect | the promise it breaks |
|---|---|
| a stale lease ends a later attempt | only who holds the attempt, by number and lease, ends it |
| an effect that is done is run again | a done effect's block never runs again |
| an effect in doubt is run again | what may have happened is not repeated unless its policy says so |
| an effect that was executing is overlooked | its job waits for a person |
| failures are not counted against their allowance | a job fails when no failure is left |
| crashes are not counted against their allowance | a job fails when no crash is left |
| a cancel is lost | what was asked to stop does not go on after the attempt |
| a key makes a second job | one job a (client, key) |
| another request under a known key is taken for a replay | it is a conflict |
| a job is claimed that is not due | nothing but a queued job is claimed |
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from jobs import lifecycle, transitions
from jobs.effects import records
from jobs.keys import Known
from jobs.lifecycle import Doubt, Event, Status
from jobs.models import Job
from jobs.submission import accept
from jobs.transitions import Ended
from tests.laws.life import Life

pytestmark = pytest.mark.django_db

Patch = pytest.MonkeyPatch


def run(examples: int, **more: Any) -> None:
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            **more,
        ),
    )


def test_a_random_life_keeps_every_promise() -> None:
    run(25)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_hundreds_of_lives_keep_every_promise() -> None:
    run(500)


# --- defects ---------------------------------------------------------------------------------------------


def stale_lease(patch: Patch) -> None:
    end_attempts = transitions.end_attempts

    def unfenced(ended: Any, **by: Any) -> Any:
        def under_the_present_fence(item: Ended) -> Ended:
            job = Job.objects.get(pk=item.job_id)
            if job.status != Status.RUNNING or job.lease_id is None:
                return item
            return item._replace(version=job.version, lease_id=job.lease_id)

        return end_attempts([under_the_present_fence(item) for item in ended], **by)

    patch.setattr(transitions, "end_attempts", unfenced)


def read_as(status_by: dict[str, str]) -> Callable[[Patch], None]:
    def put_in(patch: Patch) -> None:
        read = records.read

        def misread(*arguments: Any) -> Any:
            row = read(*arguments)
            return row and replace(row, status=status_by.get(row.status, row.status))

        patch.setattr(records, "read", misread)

    return put_in


def ending(change: Callable[..., Event]) -> Callable[[Patch], None]:
    """`change` gets the true rule, and what it is asked."""

    def put_in(patch: Patch) -> None:
        true = lifecycle.ending
        patch.setattr(lifecycle, "ending", lambda *asked, **more: change(true, *asked, **more))

    return put_in


def endless(event: Event) -> Callable[..., Event]:
    def change(true: Any, end: Any, budget: Any, *rest: Any, **more: Any) -> Event:
        if true(end, budget._replace(failures=0, crashes=0), *rest, **more) is event:
            return event
        found: Event = true(end, budget, *rest, **more)
        return found

    return change


def lost_cancel(patch: Patch) -> None:
    patch.setattr(lifecycle, "YIELDS_TO_CANCEL", frozenset())


def second_job(patch: Patch) -> None:
    prepare = accept.prepare
    patch.setattr(accept, "prepare", lambda request: replace(prepare(request), canonical=None))


def false_replay(patch: Patch) -> None:
    patch.setattr(Known, "is_same_request", lambda self, request: True)


def claimed_early(patch: Patch) -> None:
    claim = transitions.claim

    def claim_whatever(ids: Any, *, lease_id: Any, worker: str) -> Any:
        Job.objects.filter(pk__in=ids, status=Status.SCHEDULED).update(status=Status.QUEUED)
        return claim(ids, lease_id=lease_id, worker=worker)

    patch.setattr(transitions, "claim", claim_whatever)


DEFECTS: dict[str, Callable[[Patch], None]] = {
    "a stale lease ends a later attempt": stale_lease,
    "an effect that is done is run again": read_as({"done": "not_done"}),
    "an effect in doubt is run again": read_as({"executing": "not_done", "in_doubt": "not_done"}),
    "an effect that was executing is overlooked": ending(
        lambda true, end, budget, doubt, **more: true(end, budget, Doubt.NONE, **more)
    ),
    "failures are not counted against their allowance": ending(endless(Event.RETRY)),
    "crashes are not counted against their allowance": ending(endless(Event.EXPIRE)),
    "a cancel is lost": lost_cancel,
    "a key makes a second job": second_job,
    "another request under a known key is taken for a replay": false_replay,
    "a job is claimed that is not due": claimed_early,
}


def test_the_table_above_names_each_defect() -> None:
    assert re.findall(r"^\| (.+?) \|", __doc__ or "", re.MULTILINE)[1:] == list(DEFECTS)


@pytest.mark.parametrize("name", DEFECTS)
def test_each_defect_is_found(name: str, monkeypatch: Patch) -> None:
    DEFECTS[name](monkeypatch)
    with pytest.raises(AssertionError):
        run(400, derandomize=True, phases=[Phase.generate], print_blob=False)
