"""Verdicts: what the end of a lease means for the jobs that ran under it.

Made once, by whoever ends the lease and over all of its jobs, and kept in its row: who moves a job later, after a lock or
after the death of the process that made the verdict, follows it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import orjson

from jobs.lifecycle import End
from jobs.rows import Row
from jobs.run import TERMINATED, TIMEOUT, backoff_s, budget_of, is_isolated
from jobs.sql import py_id
from jobs.transitions import Ended

RELEASED, CRASHED, OVERDUE = "released", "crashed", "overdue"

ENDS = {CRASHED: (End.DIED, "crashed"), OVERDUE: (End.RAISED, TIMEOUT), TERMINATED: (End.RELEASED, TERMINATED)}
"""How those end whom a verdict names, and the code of their error. A signal costs nobody a budget."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to become of the running jobs of a lease."""

    kind: str
    """released: told to stop, nobody is to blame. crashed: the process died. overdue: it was killed for some jobs.
    terminated: a signal that the parent did not send stopped it; nobody is charged."""

    why: str = ""
    ran: frozenset[uuid.UUID] | None = None
    """Of a crash or a signal: the jobs that ran in the process; None means that nobody knows."""

    late: Mapping[uuid.UUID, str] = field(default_factory=dict)
    """The jobs past their hard limit, each with a sentence."""

    def on(self, rows: Sequence[Row], begun: Set[uuid.UUID] | None) -> Judged:
        """Judge the rows, which have to be all that run: who is to blame depends on who else ran."""
        ids = {row.id for row in rows}
        culprits = {job_id: why for job_id, why in self.late.items() if job_id in ids}
        if self.kind == CRASHED:
            culprits = dict.fromkeys(self._suspects(rows, begun), self.why)
        elif self.kind == TERMINATED:
            culprits = dict.fromkeys(ids & (self.ran or frozenset()), self.why)
        return Judged(self.kind, self.why, culprits, None if begun is None else frozenset(begun & ids))

    def _suspects(self, rows: Sequence[Row], begun: Set[uuid.UUID] | None) -> Set[uuid.UUID]:
        """Those that ran in the process, as far as that is known.

        Attempts in a process of their own are not to blame for the horse's death, unless nobody else ran. Where nobody
        ran at all, those whose outcome it had not recorded, or all that it had claimed: it must not die again and again
        of a job that never pays.
        """
        claimed = {row.id for row in rows if not is_isolated(row)} or {row.id for row in rows}
        return claimed & (self.ran or frozenset()) or claimed & (begun or frozenset()) or claimed


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict with the names of the jobs, as the lease's row keeps it."""

    kind: str
    why: str
    culprits: Mapping[uuid.UUID, str]
    """Whom it names, each with the sentence that its error says: who pays, or what a signal interrupted."""

    begun: frozenset[uuid.UUID] | None
    """The jobs whose handlers were started; None means that nobody knows."""

    def as_json(self) -> str:
        document = {
            "kind": self.kind, "why": self.why, "culprits": {str(key): why for key, why in self.culprits.items()},
            "begun": None if self.begun is None else sorted(map(str, self.begun)),
        }  # fmt: skip
        return orjson.dumps(document).decode()

    @classmethod
    def of_json(cls, stored: Any) -> Judged:
        document = orjson.loads(stored) if isinstance(stored, str | bytes) else stored
        begun = document["begun"]
        return cls(
            document["kind"], document["why"], {py_id(key): why for key, why in document["culprits"].items()},
            None if begun is None else frozenset(map(py_id, begun)),
        )  # fmt: skip

    def ends_of(self, rows: Sequence[Row]) -> list[Ended]:
        return [self._end_of(row) for row in rows]

    def _end_of(self, row: Row) -> Ended:
        if row.id in self.culprits:
            end, code = ENDS[self.kind]
            return _ended(row, end, code, self.culprits[row.id])
        is_begun = self.begun is None or row.id in self.begun
        return _ended(row, End.RELEASED if is_begun else End.UNBEGUN)


released = Verdict(RELEASED)
"""Told to stop: nobody is to blame."""


def crashed(why: str, ran: Set[uuid.UUID] | None = None) -> Verdict:
    """The process died: a crash for each job that ran in it, as far as it is known which of those that it had claimed."""
    return Verdict(CRASHED, why, None if ran is None else frozenset(ran))


def terminated(ran: Set[uuid.UUID]) -> Verdict:
    """A signal that the parent did not send stopped the horse: nobody is charged, and what did not end within the grace
    runs alone the next time, since it may have sent the signal itself."""
    why = "a signal from elsewhere told the process that ran it to stop, and it did not end within the grace"
    return Verdict(TERMINATED, why, frozenset(ran))


def overdue(culprits: Mapping[uuid.UUID, str]) -> Verdict:
    """The horse was killed because of jobs past their hard limit: they pay, the others do not."""
    return Verdict(OVERDUE, "a job ran past its hard limit", late=dict(culprits))


def taken_back(rows: Sequence[Row]) -> list[Ended]:
    """Claims that no handler began."""
    return [_ended(row, End.UNBEGUN) for row in rows]


def _ended(row: Row, end: End, code: str | None = None, message: str | None = None) -> Ended:
    assert row.lease_id is not None
    return Ended(
        row.id,
        row.version,
        row.lease_id,
        end,
        budget_of(row),
        has_effects=row.has_effects,
        delay_s=backoff_s(row),
        error_code=code,
        error_message=message,
    )
