"""Submit: the one door in. API, command, scheduler and Python callers all come through here.

A job is accepted when the commit of its row, and of its idempotency key where one was given, returns;
from then on it cannot be lost. Redis is told after that and may fail. The steps of one request, taken
for many at a time:

1. the envelope was checked (`envelope.parse`);
2. validate: known type and queue, payload against the type's model, all errors at once;
3. look the keys of those up that were refused: what their key is known for is answered as in step 4, so that stricter
   new code never breaks the replay of an old request;
4. insert keys in their order; one that is there already makes a replay (same fingerprint) or a conflict;
5. insert jobs, with steps 4 and 5 in one statement where the database knows such;
6. after the commit: one call to Redis.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import pydantic

from jobs import envelope, keys
from jobs.database import after_commit, be_brief, joins_caller, on_commit
from jobs.documents import isotime
from jobs.envelope import JobRequest
from jobs.errors import DatabaseUnavailable, JobsError
from jobs.group import Group
from jobs.leftovers import forget_queries
from jobs.queue import pushing_aside
from jobs.sql import is_lock
from jobs.submission.accept import Outcome, Submitted, answer_known, commit, pair_of, store, tell_redis
from jobs.submission.validate import prepare

__all__ = ["Outcome", "Submitted", "dry_run", "offer", "offer_each", "prepare", "submit", "submit_many"]


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
    if joins_caller():
        outcomes = store(requests)
        on_commit(tell_redis, outcomes, requests)
        return outcomes
    outcomes = commit(requests)
    after_commit(tell_redis, outcomes, requests)
    return outcomes


def offer(requests: Sequence[JobRequest], *, may_join: bool = True) -> Future[list[Outcome]]:
    """Accept many in a commit shared with others that arrive at the same time, without waiting for it.

    The future raises DatabaseUnavailable when the database cannot commit. Inside a transaction there
    is nothing to share: the rows join it, and the future is done already. On an event loop there is none, and to ask
    would make a connection for each task: there `may_join` is not set.
    """
    if may_join and joins_caller():
        future: Future[list[Outcome]] = Future()
        future.set_result(submit_many(requests))
        return future
    return _group.offer(requests)


def offer_each(requests: Sequence[JobRequest]) -> Future[Sequence[list[Outcome] | Exception]]:
    """As `offer` of each, with one future for all. Not inside a transaction."""
    return _group.offer_all([[request] for request in requests])


def dry_run(request: JobRequest) -> Submitted | None:
    """What `submit` would answer, storing nothing: the job of a known key, or None for a new job.

    Raises what `submit` raises.
    """
    if request.key is not None:
        known = keys.known_keys([pair_of(request)])
        if known:
            outcomes: dict[int, Outcome] = {}
            answer_known([request], [0], known, outcomes)
            if isinstance(outcome := outcomes.get(0), JobsError):
                raise outcome
            if outcome is not None:
                return outcome
    prepare(request)
    return None


def _commit_group(group: Sequence[Sequence[JobRequest]]) -> Sequence[list[Outcome] | Exception]:
    """One commit for all; when one request breaks it (a row that cannot be stored, a payload model that raises, a key
    that somebody else's transaction holds), one commit for each, so that it does not fail the rest."""
    forget_queries()
    try:
        outcomes = iter(commit([request for requests in group for request in requests]))
        return [[next(outcomes) for _ in requests] for requests in group]
    except DatabaseUnavailable as error:
        if len(group) == 1 or error.__cause__ is None or not is_lock(error.__cause__):
            raise
    except Exception:
        if len(group) == 1:
            raise
    return [_commit_alone(requests) for requests in group]


def _commit_alone(requests: Sequence[JobRequest]) -> list[Outcome] | Exception:
    try:
        return commit(requests)
    except Exception as error:
        return error


def _after_group(group: Sequence[Sequence[JobRequest]], results: Sequence[list[Outcome] | Exception]) -> None:
    pairs = [(o, r) for outcomes, requests in zip(results, group, strict=True) if isinstance(outcomes, list)
             for o, r in zip(outcomes, requests, strict=True)]  # fmt: skip
    tell_redis([outcome for outcome, _ in pairs], [request for _, request in pairs], may_wait=False)


@contextlib.contextmanager
def _around_group() -> Iterator[None]:
    be_brief()
    with pushing_aside():
        yield


_group: Group[Sequence[JobRequest], list[Outcome]] = Group("submission", _commit_group, _after_group, _around_group)
"""Steps 2 to 5 of accepting, for many requests in one commit; step 6 of more than one follows while the next group is committed."""
