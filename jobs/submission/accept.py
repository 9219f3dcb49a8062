"""Steps 2 to 5 of accepting, for many requests in one commit, and step 6 after it."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import orjson
from django.db import Error as DjangoDatabaseError

from jobs import canonical, failpoints, keys, mirror
from jobs import queue as queue_module
from jobs.database import after_commit, atomic, connection
from jobs.documents import isotime
from jobs.envelope import JobRequest
from jobs.errors import DatabaseUnavailable, FieldError, JobsError, KeyReused
from jobs.rows import Row
from jobs.sql import JobId, is_outage, is_postgresql, make_id
from jobs.submission.validate import prepare
from jobs.transitions import NewJob, insert

log = logging.getLogger("jobs.submission")


@dataclass
class Submitted:
    """An accepted job: new, or the one that its key was used for first. Nobody changes it."""

    id: uuid.UUID
    is_new: bool
    row: Row | None
    """None where the job was pruned and only its key is left."""

    tombstone: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if type(self.id) is JobId:
            self.id = make_id(self.id.hex)

    @property
    def document(self) -> dict[str, Any]:
        """The status document, for orjson: JSON columns are fragments."""
        return self.row.document if self.row is not None else (self.tombstone or {})

    @cached_property
    def document_json(self) -> bytes:
        """Made once, for the answer and for the mirror."""
        return orjson.dumps(self.document)


Outcome = Submitted | JobsError


def commit(requests: Sequence[JobRequest]) -> list[Outcome]:
    """`store` in a transaction of its own. A connection that went stale is replaced, once."""
    is_at_once = _is_one_statement(requests)
    refused: dict[int, Outcome] = {}
    jobs = _validated(requests, refused)  # once: a second try knows its own job by the id
    outcomes: list[Outcome] = []
    for is_last in (False, True):
        stored = False
        try:
            with nullcontext() if is_at_once else atomic():
                if is_at_once:
                    failpoints.hit("submit.before_commit")
                outcomes = _store(requests, jobs, refused)
                if not is_at_once:
                    failpoints.hit("submit.before_commit")
                stored = True
            failpoints.hit("submit.after_commit")
            return outcomes
        except Exception as error:
            is_away = isinstance(error, DjangoDatabaseError) and is_outage(error)
            if is_away:
                connection.close()
            if stored and _are_kept(outcomes):
                after_commit(log.warning, "an error followed a commit: error=%s", type(error).__name__)
                return outcomes
            if not is_away:
                raise
            # After `stored` the COMMIT itself failed and may still happen: only the client's key may tell.
            if is_last or stored or not _is_stale(error):
                log.warning("the database did not commit: %s", str(error).strip().partition("\n")[0])
                raise DatabaseUnavailable() from error
    raise AssertionError("unreachable")


def _are_kept(outcomes: Sequence[Outcome]) -> bool:
    """Whether the new jobs are in the database, although what was to say so failed."""
    new = [outcome.id for outcome in outcomes if isinstance(outcome, Submitted) and outcome.is_new]
    try:
        return len(mirror.rows_of(new)) == len(new)
    except DjangoDatabaseError:
        connection.close()
        return False


def _is_one_statement(requests: Sequence[JobRequest]) -> bool:
    """Whether all that is written is one statement, which commits by itself: BEGIN and COMMIT are round trips that a lone
    request waits for. Only with a key, by which a second try finds what the first one may have stored."""
    if len(requests) != 1 or not is_postgresql() or not connection.settings_dict["AUTOCOMMIT"]:
        return False
    return requests[0].key is not None and not requests[0].tags


def _is_stale(error: Exception) -> bool:
    """Whether the server went away between two requests, or became a standby, so that a new connection may work at once."""
    return is_postgresql() and getattr(error.__cause__, "sqlstate", None) in (None, "57P01", "25006")


def store(requests: Sequence[JobRequest]) -> list[Outcome]:
    """Steps 2 to 5 for all requests, inside a transaction."""
    refused: dict[int, Outcome] = {}
    return _store(requests, _validated(requests, refused), refused)


def _store(requests: Sequence[JobRequest], jobs: dict[int, NewJob], refused: dict[int, Outcome]) -> list[Outcome]:
    outcomes = dict(refused)
    _answer_refused(requests, outcomes)
    waiting = list(jobs)
    while waiting:
        # Of equal keys in one group the first wins, before the look-up, which answers their replays in this group.
        firsts = {_name_of(requests[i], i): i for i in reversed(waiting)}
        rows = {row.id: row for row in insert([jobs[i] for i in sorted(firsts.values())])}
        for i in firsts.values():
            if row := rows.get(jobs[i].id):
                outcomes[i] = Submitted(row.id, True, row)
        lost = [i for i in waiting if i not in outcomes]
        _answer_known(requests, lost, outcomes)
        for i in lost:
            found = outcomes.get(i)
            if isinstance(found, Submitted) and found.id == jobs[i].id:  # of a first try, whose answer was lost
                outcomes[i] = replace(found, is_new=True)
        waiting = [i for i in lost if i not in outcomes]  # a rival's key that was gone again
    return [outcomes[i] for i in range(len(requests))]


def _name_of(request: JobRequest, index: int) -> keys.Pair | int:
    """What only one job may be inserted for."""
    return index if request.key is None else pair_of(request)


def _validated(requests: Sequence[JobRequest], outcomes: dict[int, Outcome]) -> dict[int, NewJob]:
    """The jobs of those requests that are valid; the errors of the others go into the outcomes."""
    jobs: dict[int, NewJob] = {}
    for index, request in enumerate(requests):
        try:
            jobs[index] = prepare(request)
        except JobsError as error:
            outcomes[index] = error
    return jobs


def _answer_refused(requests: Sequence[JobRequest], outcomes: dict[int, Outcome]) -> None:
    """What was refused may be the replay of a request that was fine when it came first."""
    _answer_known(requests, [i for i in outcomes if requests[i].key is not None], outcomes)


def _answer_known(requests: Sequence[JobRequest], indexes: Sequence[int], outcomes: dict[int, Outcome]) -> None:
    if indexes:
        known = keys.known_keys(pair_of(requests[i]) for i in indexes)
        answer_known(requests, [i for i in indexes if pair_of(requests[i]) in known], known, outcomes)


def pair_of(request: JobRequest) -> keys.Pair:
    return request.client, request.key or ""


def answer_known(
    requests: Sequence[JobRequest],
    indexes: Sequence[int],
    known: dict[keys.Pair, keys.Known],
    outcomes: dict[int, Outcome],
) -> None:
    """Replays with the job's present state; conflicts with the pointers that differ, never their values."""
    replays = [i for i in indexes if known[pair_of(requests[i])].is_same_request(requests[i])]
    conflicts = [i for i in indexes if i not in set(replays)]
    rows = {row.id: row for row in mirror.rows_of([known[pair_of(requests[i])].job_id for i in replays])}
    pruned: list[int] = []
    for i in replays:
        first = known[pair_of(requests[i])]
        row = rows.get(first.job_id)
        if row is None and first.tombstone is None:
            pruned.append(i)
        else:
            outcomes[i] = Submitted(first.job_id, False, row, first.tombstone)
    if pruned:
        _answer_pruned(requests, pruned, known, outcomes)
    sent = keys.first_requests([known[pair_of(requests[i])].job_id for i in conflicts])
    for i in conflicts:
        first = known[pair_of(requests[i])]
        request = requests[i]
        pointers: list[str] = []
        if first.job_id in sent:
            now = {"type": request.type, "payload": request.payload, **request.options}
            pointers = canonical.differing_pointers(sent[first.job_id], now)
        used_at = isotime(first.created_at)
        outcomes[i] = KeyReused(
            f"this idempotency key was first used at {used_at}, for another request",
            [FieldError(pointer, "differs", "differs from the first request") for pointer in pointers],
            first_used_at=used_at,
        )


def _answer_pruned(
    requests: Sequence[JobRequest],
    indexes: Sequence[int],
    known: dict[keys.Pair, keys.Known],
    outcomes: dict[int, Outcome],
) -> None:
    """Replays whose job was pruned after its key was read: by now the key has its tombstone. A key that is gone as well
    is free, and gets no outcome here."""
    fresh = keys.known_keys(pair_of(requests[i]) for i in indexes)
    for i in indexes:
        first, now = known[pair_of(requests[i])], fresh.get(pair_of(requests[i]))
        if now is not None and (now.job_id, now.tombstone) == (first.job_id, None):
            used_at = isotime(first.created_at)
            outcomes[i] = KeyReused(
                f"the job of this idempotency key, first used at {used_at}, was deleted by hand: use another key",
                first_used_at=used_at,
            )
        elif now is not None:
            answer_known(requests, [i], fresh, outcomes)


def tell_redis(outcomes: Sequence[Outcome], requests: Sequence[JobRequest], *, may_wait: bool = True) -> None:
    """Step 6. What fails here is made up for by housekeeping. A thread that accepts for many may not wait for locks."""
    new = [(o.row, o.document_json) for o in outcomes if isinstance(o, Submitted) and o.is_new and o.row is not None]
    queue_module.push([row for row, _ in new], [document for _, document in new])
    replays = [
        pair_of(request)
        for outcome, request in zip(outcomes, requests, strict=True)
        if isinstance(outcome, Submitted) and not outcome.is_new
    ]
    if replays:
        try:
            counted = keys.note_replays(replays, may_wait=may_wait)
            if counted < len(replays):
                log.info("%d replays were not counted: their keys are locked", len(replays) - counted)
        except DjangoDatabaseError:  # a counter: the answer is right without it
            log.warning("%d replays were answered, but not counted", len(replays))
            connection.close_if_unusable_or_obsolete()
