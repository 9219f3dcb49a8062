"""Mutants: the system with one of its safeguards taken out. A checker that passes one of them is a defect.

Put in by the children of a fault run when `CHAOS_MUTANT` names one; nothing of it is in the job system.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

VARIABLE = "CHAOS_MUTANT"


def no_fence() -> None:
    """An attempt may end under any lease, and whatever attempt runs."""
    from jobs.transitions import endings, is_of_claim, successes

    def without(execute: Callable[[str, Sequence[Any]], Any], fence: str, nothing: str) -> Any:
        return lambda sql, parameters: execute(sql.replace(fence, nothing), parameters)

    endings.fetch = without(
        endings.fetch,
        f"AND {is_of_claim('vversion')} AND lease_id = vlease",
        "AND vversion IS NOT NULL AND vlease IS NOT NULL",
    )
    successes.change = without(
        successes.change, "AND version = vversion AND lease_id = %s", "AND vversion IS NOT NULL AND %s IS NOT NULL"
    )


def no_unique_key() -> None:
    """A job says its key, but does not take it, and so hinders nobody."""
    from dataclasses import replace

    from jobs.submission import accept

    prepare = accept.prepare
    accept.prepare = lambda request: replace(prepare(request), canonical=None)


def no_repair() -> None:
    """Nobody does the housekeeping."""
    from jobs.reconcile import Housekeeper

    Housekeeper.turn = lambda self, **_: None  # type: ignore[method-assign]


def effect_recorded_after() -> None:
    """The effect is written down once it happened, instead of before."""
    from jobs import effects
    from jobs.effects import records

    enter, record = effects._enter, records.record
    rows: dict[uuid.UUID, Any] = {}

    def enter_unreserved(attempt: Any, slot: Any, terms: Any, *, is_reserving: bool = True) -> Any:
        rows[attempt.job_id] = terms
        return enter(attempt, slot, terms, is_reserving=False)

    def record_all(attempt: Any, slot: Any, name: str, status: str, **facts: Any) -> None:
        if records.read(attempt.job_id, name) is None:
            records.reserve(attempt, rows[attempt.job_id], None)
        record(attempt, slot, name, status, **facts)

    effects._enter, records.record = enter_unreserved, record_all


def no_dead_man() -> None:
    """A stopped worker outlives its lease."""
    from jobs.process import DeadMan

    DeadMan._set = lambda self, deadline_s: None  # type: ignore[method-assign]


def early_acknowledgement() -> None:
    """The answer goes out before the commit."""
    from django.db import transaction

    from jobs.group import Group

    def committed(self: Any, group: Any) -> Callable[[], None]:
        try:
            with transaction.atomic():
                for bundle in group:
                    bundle.settle(self._commit(bundle.items))
                time.sleep(0.05)
        except Exception as error:
            for bundle in group:
                if not bundle.future.done():
                    bundle.future.set_exception(error)
        return lambda: None

    assert hasattr(Group, "_committed")
    Group._committed = committed  # type: ignore[method-assign]


def nothing_is_refused() -> None:
    """An effect may begin inside a transaction of the handler's."""
    from jobs.effects import transactions

    transactions.open_transaction = lambda own: ""


def worlds_are_shared() -> None:
    """Attempts of a thread share one context."""
    from jobs import leftovers

    class Shared:
        def __init__(self, context: Any) -> None:
            self.run = context.run

        def copy(self) -> Shared:
            return self

    of_this_thread = leftovers.of_this_thread

    def of_all_attempts() -> Any:
        state = of_this_thread()
        if not isinstance(state.context, Shared):
            state.context = Shared(state.context)
        return state

    leftovers.of_this_thread = of_all_attempts


def lock_is_an_outage() -> None:
    """A horse takes a row that somebody else has locked for a database that is away."""
    from jobs import commit

    commit.is_lock = lambda error: False


def verdict_is_not_kept() -> None:
    """Who finishes the work of a lease that was revoked before judges for himself."""
    from jobs import leases

    revoke = leases._revoke

    def judge_again(lease_id: uuid.UUID, verdict: Any, begun: Any, who: str) -> Any:
        revoke(lease_id, verdict, begun, who)
        return verdict.on(leases.running_under(lease_id), begun)

    leases._revoke = judge_again


def exit_code_is_believed() -> None:
    """A horse that ends with exit code 0 or 75 has drained, whatever it said."""
    from jobs.supervise import Supervisor

    is_planned = Supervisor._is_planned
    Supervisor._is_planned = lambda self, present, code: code in (0, 75) or is_planned(self, present, code)  # type: ignore[method-assign]


def programs_are_left() -> None:
    """Nobody ends what an attempt has started."""
    from jobs import process

    process.kill_children = lambda *arguments, **options: None
    process.children = lambda *arguments: []
    process.kill_leftovers = lambda *arguments, **options: None


def replica_is_read() -> None:
    """Routers of the project decide where decisions are read."""
    from jobs import database

    database.Router.db_for_read = lambda self, model, **hints: None  # type: ignore[method-assign]


def everybody_keeps_house() -> None:
    """A housekeeper whose process cannot be seen is taken for dead."""
    from jobs.leader import Leader

    Leader.is_gone = lambda self, identity: True  # type: ignore[method-assign]


def rival_is_a_loss() -> None:
    """Another database on the same Redis is taken for a loss of Redis."""
    from dataclasses import replace

    from jobs import loss, owner

    look = loss.look
    loss.look = lambda *arguments: (
        replace(found, found=loss.Found.LOST)
        if (found := look(*arguments)).found in (loss.Found.RIVAL, loss.Found.LEFT)
        else found
    )
    owner.note = lambda found: None


def lists_are_not_trimmed() -> None:
    """Ids that are no longer queued stay in their list."""
    from jobs import rebuild

    rebuild.TRIM = "return 0"


def local_clock_decides() -> None:
    """The clock of the machine that accepts a job decides whether it is due."""
    import datetime as dt
    from dataclasses import replace

    from jobs.submission import accept

    insert = accept.insert

    def insert_due(jobs: Sequence[Any]) -> Any:
        now = dt.datetime.now(dt.UTC)
        return insert([replace(job, run_at=None) if job.run_at and job.run_at <= now else job for job in jobs])

    accept.insert = insert_due


def epoch_goes_back() -> None:
    """After a restore the next epoch follows the database's, though Redis knows a higher one."""
    from dataclasses import replace

    from jobs import loss

    look = loss.look
    loss.look = lambda *arguments: replace(look(*arguments), epoch=0)


MUTANTS: dict[str, Callable[[], None]] = {
    "no fence": no_fence,
    "no unique key": no_unique_key,
    "no repair": no_repair,
    "effect recorded after sending": effect_recorded_after,
    "no dead-man timer": no_dead_man,
    "acknowledgement before commit": early_acknowledgement,
    "nothing is refused": nothing_is_refused,
    "worlds are shared": worlds_are_shared,
    "lock is an outage": lock_is_an_outage,
    "verdict is not kept": verdict_is_not_kept,
    "exit code is believed": exit_code_is_believed,
    "programs are left": programs_are_left,
    "replica is read": replica_is_read,
    "everybody keeps house": everybody_keeps_house,
    "rival is a loss": rival_is_a_loss,
    "lists are not trimmed": lists_are_not_trimmed,
    "local clock decides": local_clock_decides,
    "epoch goes back": epoch_goes_back,
}


def put_in(name: str) -> None:
    if name:
        MUTANTS[name]()
