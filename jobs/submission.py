"""Submit: the one door in. API, command, scheduler and Python callers all come through here.

A job is accepted when the commit of its row, and of its idempotency key where one was given, returns;
from then on it cannot be lost. Redis is told after that and may fail. The steps of one request, taken
for many at a time:

1. the envelope was checked (`envelope.parse`);
2. known keys are looked up: a replay (same fingerprint) or a conflict, decided before the payload is
   validated, so that stricter new code never breaks the replay of an old request;
3. validate: known type and queue, payload against the type's model, all errors at once;
4. insert keys in their order; one that lost the race goes back to step 2;
5. insert jobs;
6. after the commit: one call to Redis.
"""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
import pydantic
import uuid_utils.compat as uuid_utils
from django.db import Error as DjangoDatabaseError
from django.db import InterfaceError, OperationalError, connection, transaction

from jobs import canonical, envelope, failpoints, keys, mirror, registry
from jobs import queue as queue_module
from jobs.conf import conf
from jobs.documents import isotime
from jobs.envelope import JobRequest
from jobs.errors import DatabaseUnavailable, FieldError, InvalidPayload, JobsError, KeyReused, UnknownQueue
from jobs.group import Group
from jobs.lifecycle import Actor
from jobs.rows import Row
from jobs.transitions import NewJob, insert

log = logging.getLogger("jobs.submission")

ACTORS = {"schedule": Actor.SCHEDULER, "command": Actor.OPERATOR}
"""Who caused the first event, by the job's source; a client otherwise."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """An accepted job: new, or the one that its key was used for first."""

    id: uuid.UUID
    is_new: bool
    row: Row | None
    """None where the job was pruned and only its key is left."""

    tombstone: dict[str, Any] | None = None

    @property
    def document(self) -> dict[str, Any]:
        """The status document, for orjson: JSON columns are fragments."""
        return self.row.document if self.row is not None else (self.tombstone or {})


Outcome = Submitted | JobsError


def submit(
    type: str,
    payload: Any = None,
    *,
    key: str | None = None,
    queue: str | None = None,
    at: dt.datetime | None = None,
    delay_s: float | None = None,
    max_attempts: int | None = None,
    timeout_s: int | None = None,
    tags: Sequence[str] = (),
    callback_url: str | None = None,
    client: str = "system",
    source: str = "python",
) -> Submitted:
    """Accept one job from Python.

    Inside `transaction.atomic()` the row joins the caller's transaction and the push follows its
    commit: nothing runs unless the caller commits. Payload: a dict, or a pydantic model.

    Raises MalformedRequest, TooLarge, UnknownType, UnknownQueue, InvalidPayload, KeyReused, or
    DatabaseUnavailable. Under REPEATABLE READ a key that is being inserted elsewhere raises a
    serialization error: repeat the transaction.
    """
    if isinstance(payload, pydantic.BaseModel):
        payload = payload.model_dump(mode="json", exclude_unset=True)
    body = {
        "type": type,
        "payload": payload,
        "idempotencyKey": key,
        "queue": queue,
        "runAt": isotime(at),
        "delaySeconds": delay_s,
        "maxAttempts": max_attempts,
        "timeoutSeconds": timeout_s,
        "tags": list(tags) or None,
        "callbackUrl": callback_url,
    }
    request = envelope.parse(
        {name: value for name, value in body.items() if value is not None}, client=client, source=source
    )
    (outcome,) = submit_many([request])
    if isinstance(outcome, JobsError):
        raise outcome
    return outcome


def submit_many(requests: Sequence[JobRequest]) -> list[Outcome]:
    """Accept many in one commit, each with its own outcome; joins the caller's transaction if there is one.

    Raises DatabaseUnavailable when the database cannot commit: then nothing was stored.
    """
    if connection.in_atomic_block:
        outcomes = _store(requests)
        transaction.on_commit(partial(_after, outcomes, requests), robust=True)
        return outcomes
    outcomes = _commit(requests)
    _after(outcomes, requests)
    return outcomes


def offer(requests: Sequence[JobRequest]) -> Future[list[Outcome]]:
    """Accept many in a commit shared with others that arrive at the same time, without waiting for it.

    The future raises DatabaseUnavailable when the database cannot commit. Inside a transaction there
    is nothing to share: the rows join it, and the future is done already.
    """
    if connection.in_atomic_block:
        future: Future[list[Outcome]] = Future()
        future.set_result(submit_many(requests))
        return future
    return _group.offer(requests)


def _commit(requests: Sequence[JobRequest]) -> list[Outcome]:
    """`_store` in a transaction of its own. A connection that went stale is replaced, once."""
    for is_last in (False, True):
        stored = False
        try:
            with transaction.atomic():
                outcomes = _store(requests)
                failpoints.hit("submit.before_commit")
                stored = True
            failpoints.hit("submit.after_commit")
            return outcomes
        except (OperationalError, InterfaceError) as error:
            connection.close()
            # After `stored` the COMMIT itself failed and may have happened: only the client's key may tell.
            if is_last or stored or not _is_stale(error):
                log.warning("the database did not commit: %s", str(error).strip().partition("\n")[0])
                raise DatabaseUnavailable() from error
    raise AssertionError("unreachable")


def _is_stale(error: Exception) -> bool:
    """Whether the server went away between two requests, so that a new connection may work at once."""
    return connection.vendor == "postgresql" and getattr(error.__cause__, "sqlstate", None) in (None, "57P01")


def _store(requests: Sequence[JobRequest]) -> list[Outcome]:
    """Steps 2 to 5 for all requests, inside a transaction."""
    outcomes: dict[int, Outcome] = {}
    new = _validated(requests, [i for i, request in enumerate(requests) if request.key is None], outcomes)
    waiting = [i for i, request in enumerate(requests) if request.key is not None]
    while waiting:
        known = keys.known_keys(_pair(requests[i]) for i in waiting)
        _answer_known(requests, [i for i in waiting if _pair(requests[i]) in known], known, outcomes)
        unknown = [i for i in waiting if i not in outcomes]
        firsts = {_pair(requests[i]): i for i in reversed(unknown)}  # of equal keys in one group the first wins
        candidates = _validated(requests, sorted(firsts.values()), outcomes)
        won = keys.insert_keys([(requests[i], job.id) for i, job in candidates])
        winners = [(i, job) for i, job in candidates if job.id in won]
        _insert(winners, outcomes)  # before the next look-up, which answers their replays in this group
        waiting = [i for i in unknown if i not in outcomes]
    _insert(new, outcomes)
    return [outcomes[i] for i in range(len(requests))]


def _insert(new: Sequence[tuple[int, NewJob]], outcomes: dict[int, Outcome]) -> None:
    for (index, _), row in zip(new, insert([job for _, job in new]), strict=True):
        outcomes[index] = Submitted(row.id, True, row)


def dry_run(request: JobRequest) -> Submitted | None:
    """What `submit` would answer, storing nothing: the job of a known key, or None for a new job.

    Raises what `submit` raises.
    """
    if request.key is not None:
        known = keys.known_keys([_pair(request)])
        if known:
            outcomes: dict[int, Outcome] = {}
            _answer_known([request], [0], known, outcomes)
            if isinstance(outcomes[0], JobsError):
                raise outcomes[0]
            return outcomes[0]
    prepare(request)
    return None


def _pair(request: JobRequest) -> keys.Pair:
    return request.client, request.key or ""


def _answer_known(
    requests: Sequence[JobRequest],
    indexes: Sequence[int],
    known: dict[keys.Pair, keys.Known],
    outcomes: dict[int, Outcome],
) -> None:
    """Replays with the job's present state; conflicts with the pointers that differ, never their values."""
    replays = [i for i in indexes if known[_pair(requests[i])].is_same_request(requests[i])]
    conflicts = [i for i in indexes if i not in set(replays)]
    rows = {row.id: row for row in mirror.rows_of([known[_pair(requests[i])].job_id for i in replays])}
    for i in replays:
        first = known[_pair(requests[i])]
        outcomes[i] = Submitted(first.job_id, False, rows.get(first.job_id), first.tombstone)
    sent = keys.first_requests([known[_pair(requests[i])].job_id for i in conflicts])
    for i in conflicts:
        first = known[_pair(requests[i])]
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


def _validated(
    requests: Sequence[JobRequest], indexes: Sequence[int], outcomes: dict[int, Outcome]
) -> list[tuple[int, NewJob]]:
    """The jobs of those requests that are valid; the errors of the others go into the outcomes."""
    jobs: list[tuple[int, NewJob]] = []
    for index in indexes:
        try:
            jobs.append((index, prepare(requests[index])))
        except JobsError as error:
            outcomes[index] = error
    return jobs


def prepare(request: JobRequest) -> NewJob:
    """Step 3: the job that a request asks for. Raises UnknownType, UnknownQueue, InvalidPayload."""
    job_type = registry.get(request.type)
    options = request.options
    queue_name = options.get("queue") or job_type.queue
    if queue_name not in conf().queues:
        raise UnknownQueue(f"there is no queue {queue_name!r}: a job in it would never run", queues=conf().queues)
    if job_type.payload is not None:
        try:
            job_type.payload.model_validate(request.payload)
        except pydantic.ValidationError as error:
            raise InvalidPayload(
                f"the payload does not fit the type {request.type!r}", _payload_errors(error)
            ) from None
    return NewJob(
        id=uuid_utils.uuid7(),
        type=request.type,
        queue=queue_name,
        client=request.client,
        source=request.source,
        key=request.key,
        payload=orjson.dumps(request.payload).decode(),
        options=orjson.dumps(options).decode(),
        callback_url=options.get("callbackUrl"),
        max_attempts=int(options.get("maxAttempts") or job_type.max_attempts),
        max_crashes=job_type.max_crashes,
        timeout_s=int(options.get("timeoutSeconds") or job_type.timeout_s),
        run_at=request.run_at,
        delay_s=request.delay_s,
        tags=request.tags,
        who=request.who,
        actor=ACTORS.get(request.source, Actor.CLIENT),
    )


def _payload_errors(error: pydantic.ValidationError) -> list[FieldError]:
    """Every error with its pointer; never the value that was sent."""
    return [
        FieldError(
            "/payload" + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in item["loc"]),
            item["type"],
            item["msg"],
        )
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def _commit_group(group: Sequence[Sequence[JobRequest]]) -> Sequence[list[Outcome] | Exception]:
    """One commit for all; when one request breaks it (a row that cannot be stored, a payload model that raises),
    one commit for each, so that it does not fail the rest."""
    try:
        outcomes = iter(_commit([request for requests in group for request in requests]))
        return [[next(outcomes) for _ in requests] for requests in group]
    except DatabaseUnavailable:
        raise
    except Exception:
        if len(group) == 1:
            raise
    return [_commit_alone(requests) for requests in group]


def _commit_alone(requests: Sequence[JobRequest]) -> list[Outcome] | Exception:
    try:
        return _commit(requests)
    except Exception as error:
        return error


def _after_group(group: Sequence[Sequence[JobRequest]], results: Sequence[list[Outcome] | Exception]) -> None:
    pairs = [(o, r) for outcomes, requests in zip(results, group, strict=True) if isinstance(outcomes, list)
             for o, r in zip(outcomes, requests, strict=True)]  # fmt: skip
    _after([outcome for outcome, _ in pairs], [request for _, request in pairs])


def _after(outcomes: Sequence[Outcome], requests: Sequence[JobRequest]) -> None:
    """Step 6. What fails here is made up for by housekeeping."""
    queue_module.push([o.row for o in outcomes if isinstance(o, Submitted) and o.is_new and o.row is not None])
    replays = [
        _pair(request)
        for outcome, request in zip(outcomes, requests, strict=True)
        if isinstance(outcome, Submitted) and not outcome.is_new
    ]
    if replays:
        try:
            keys.note_replays(replays)
        except (DjangoDatabaseError, InterfaceError):  # a counter: the answer is right without it
            log.warning("%d replays were answered, but not counted", len(replays))
            connection.close_if_unusable_or_obsolete()


_group: Group[Sequence[JobRequest], list[Outcome]] = Group("submission", _commit_group, _after_group)
