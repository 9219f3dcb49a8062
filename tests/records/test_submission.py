"""The one door in: what is accepted, what is a replay, what is refused and stores nothing."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from django.db import connection, transaction
from pydantic import BaseModel, ConfigDict, model_validator

import jobs
from jobs import envelope, handler, prune, registry, submission
from jobs.errors import InvalidPayload, JobsError, KeyReused, MalformedRequest, UnknownQueue, UnknownType
from jobs.models import Event, IdempotencyKey, Job, JobTag
from jobs.submission import Submitted, submit_many
from jobs.transitions.events import CHUNK
from tests.records.conftest import Register
from tests.support import lives
from tests.support.callers import Caller

pytestmark = pytest.mark.django_db(transaction=True)


def request(payload: Any = None, *, client: str = "alice", **members: Any) -> envelope.JobRequest:
    return envelope.parse({"type": "echo", "payload": payload or {}, **members}, client=client, source="api")


def stored() -> tuple[int, int, int, int]:
    return Job.objects.count(), IdempotencyKey.objects.count(), Event.objects.count(), JobTag.objects.count()


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    email: str


# --- one request -------------------------------------------------------------------------------------


def test_an_accepted_job_is_a_row_with_its_first_event() -> None:
    submitted = jobs.submit("echo", {"value": 1}, key="k", tags=["b", "a"], max_attempts=7, timeout_s=9, queue="low")
    job = Job.objects.get(pk=submitted.id)
    assert (job.status, job.queue, job.max_attempts, job.failures_allowed, job.timeout_s) == ("queued", "low", 7, 7, 9)
    assert (job.payload, job.key, job.client, job.source, job.version) == ({"value": 1}, "k", "system", "python", 1)
    assert list(job.tags.order_by("pk").values_list("tag", flat=True)) == ["b", "a"]
    (event,) = job.events.all()
    assert (event.event, event.source, event.target, event.attempt) == ("submit", None, "queued", 0)
    assert submitted.is_new
    assert submitted.document["idempotencyKey"] == "k"


def test_ids_sort_by_the_time_of_their_creation() -> None:
    ids = [jobs.submit("echo").id for _ in range(20)]
    assert ids == sorted(ids)
    assert {found.version for found in ids} == {7}


def test_without_a_key_every_request_is_a_new_job() -> None:
    assert jobs.submit("echo").id != jobs.submit("echo").id


def test_the_type_decides_what_the_request_leaves_open(register: Register) -> None:
    name = register(lambda job, payload: None, max_attempts=2, max_crashes=4, timeout_s=11, queue="high")
    job = Job.objects.get(pk=jobs.submit(name).id)
    assert (job.failures_allowed, job.crashes_allowed, job.timeout_s, job.queue) == (2, 4, 11, "high")


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({}, "queued"),
        ({"delay_s": 0}, "queued"),
        ({"delay_s": 30}, "scheduled"),
        ({"at": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)}, "queued"),
        ({"at": dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)}, "scheduled"),
    ],
)
def test_a_job_is_scheduled_exactly_while_it_is_not_due(options: dict[str, Any], status: str) -> None:
    job = Job.objects.get(pk=jobs.submit("echo", **options).id)
    assert job.status == status
    assert (job.queued_at is None) == (status == "scheduled")
    if status == "scheduled":
        assert job.run_after is not None
        assert job.run_after > job.created_at
    assert job.events.get().run_after == (job.run_after if status == "scheduled" else None)


def test_a_delay_is_counted_by_the_databases_clock() -> None:
    job = Job.objects.get(pk=jobs.submit("echo", delay_s=90.5).id)
    assert job.run_after is not None
    assert abs((job.run_after - job.created_at).total_seconds() - 90.5) < 0.1


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ({"type": "no-such-type"}, UnknownType),
        ({"type": "echo", "queue": "no-such-queue"}, UnknownQueue),
        ({"type": "echo", "payload": {"failTimes": "x", "nope": 1}}, InvalidPayload),
        ({"type": "echo", "max_attempts": 0}, MalformedRequest),
        ({"type": "echo", "payload": {"value": dt.datetime.now()}}, MalformedRequest),  # noqa: DTZ005
    ],
)
def test_a_request_that_is_refused_stores_nothing_its_key_included(
    call: dict[str, Any], error: type[JobsError]
) -> None:
    with pytest.raises(error):
        jobs.submit(**call, key="k", tags=["t"])
    assert stored() == (0, 0, 0, 0)


def test_an_invalid_payload_names_every_error_with_its_place_and_no_value() -> None:
    with pytest.raises(InvalidPayload) as refused:
        jobs.submit("echo", {"failTimes": "secret", "no/pe": 1})
    assert {error["pointer"] for error in refused.value.errors} == {"/payload/failTimes", "/payload/no~1pe"}
    assert "secret" not in str(refused.value.errors)


def test_a_pydantic_model_may_be_the_payload(register: Register) -> None:
    name = register(lambda job, payload: None, payload=Strict)
    assert Job.objects.get(pk=jobs.submit(name, Strict(email="a@b")).id).payload == {"email": "a@b"}


# --- keys ------------------------------------------------------------------------------------------------


def test_a_replayed_key_returns_the_first_job_in_its_present_state() -> None:
    first = jobs.submit("echo", {"value": 1.0}, key="k", max_attempts=3)
    lives.attempt(first.id)
    again = jobs.submit("echo", {"value": 1}, key="k", max_attempts=3)
    assert (again.id, again.is_new, again.document["status"]) == (first.id, False, "succeeded")
    assert stored()[:2] == (1, 1)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"payload": {"value": {"a": [1, 3]}}}, "/payload/value/a/1"),
        ({"max_attempts": 4}, "/maxAttempts"),
        ({"queue": "low"}, "/queue"),
        ({"tags": ["x"]}, "/tags"),
        ({"type": "health-check", "payload": {}}, "/type"),
    ],
)
def test_another_request_under_a_known_key_is_a_conflict_and_names_what_differs(
    change: dict[str, Any], pointer: str
) -> None:
    first: dict[str, Any] = {"type": "echo", "payload": {"value": {"a": [1, 2]}}, "max_attempts": 3}
    jobs.submit(**first, key="k")
    with pytest.raises(KeyReused) as conflict:
        jobs.submit(**(first | change), key="k")
    assert pointer in {error["pointer"] for error in conflict.value.errors}
    assert conflict.value.facts["first_used_at"].endswith("Z")
    assert Job.objects.count() == 1


def test_a_key_is_its_clients_own_and_case_sensitive() -> None:
    ids = {jobs.submit("echo", key=key, client=client).id for key in ("k", "K", " k") for client in ("alice", "bob")}
    assert len(ids) == 6


def test_a_replay_is_answered_before_the_payload_is_validated(register: Register) -> None:
    name = register(lambda job, payload: None)
    first = jobs.submit(name, {"mail": "a@b"}, key="k")
    handler(name, payload=Strict)(registry.get(name).function)
    assert jobs.submit(name, {"mail": "a@b"}, key="k").id == first.id
    with pytest.raises(InvalidPayload):
        jobs.submit(name, {"mail": "a@b"}, key="other")


def test_a_model_with_a_defect_fails_its_own_job_alone(register: Register) -> None:
    class Broken(BaseModel):
        @model_validator(mode="after")
        def _break(self) -> Broken:
            raise SystemExit("a defect")

    name = register(lambda job, payload: None, payload=Broken)
    broken, good = submit_many([replace(request({"value": 1}), type=name, payload={}), request()])
    assert isinstance(broken, JobsError)
    assert (broken.code, broken.http_status) == ("internal", 500)
    assert isinstance(good, Submitted)
    assert stored()[0] == 1


def test_a_replay_is_answered_after_its_type_is_gone(register: Register) -> None:
    name = register(lambda job, payload: None)
    first = jobs.submit(name, key="k")
    registry.unregister(name)
    assert jobs.submit(name, key="k").id == first.id


def test_a_replay_after_pruning_is_answered_from_the_tombstone() -> None:
    first = jobs.submit("echo", key="k")
    lives.attempt(first.id)
    prune.prune(dt.datetime.now(dt.UTC) + dt.timedelta(days=31))
    assert not Job.objects.exists()
    again = jobs.submit("echo", key="k")
    assert (again.id, again.is_new, again.document["status"]) == (first.id, False, "succeeded")
    with pytest.raises(KeyReused) as conflict:
        jobs.submit("echo", {"value": 1}, key="k")
    assert conflict.value.errors == []


# --- many ------------------------------------------------------------------------------------------------


def test_each_of_a_batch_has_its_own_outcome_in_order() -> None:
    jobs.submit("echo", {"value": 0}, key="known", client="alice")
    outcomes = submit_many(
        [
            request({"value": 1}),
            request({"nope": 1}, idempotencyKey="bad"),
            request({"value": 0}, idempotencyKey="known"),
            request({"value": 9}, idempotencyKey="known"),
            request({"value": 2}, idempotencyKey="new"),
        ]
    )
    kinds = [outcome.is_new if isinstance(outcome, Submitted) else type(outcome) for outcome in outcomes]
    assert kinds == [True, InvalidPayload, False, KeyReused, True]
    assert stored()[:2] == (3, 2)


def test_of_equal_keys_in_one_batch_the_first_valid_request_wins() -> None:
    outcomes = submit_many(
        [
            request({"nope": 1}, idempotencyKey="k"),
            request({"value": 1}, idempotencyKey="k"),
            request({"value": 1}, idempotencyKey="k"),
            request({"value": 2}, idempotencyKey="k"),
            request({"value": 1}, idempotencyKey="k", client="bob"),
        ]
    )
    assert isinstance(outcomes[0], InvalidPayload)
    assert isinstance(outcomes[1], Submitted)
    assert outcomes[1].is_new
    assert isinstance(outcomes[2], Submitted)
    assert (outcomes[2].id, outcomes[2].is_new) == (outcomes[1].id, False)
    assert isinstance(outcomes[3], KeyReused)
    assert isinstance(outcomes[4], Submitted)
    assert stored()[:2] == (2, 2)


@pytest.mark.parametrize("count", [3, CHUNK + 1])
def test_what_is_no_new_job_leaves_neither_event_nor_tags(count: int) -> None:
    requests = [request({"value": i}, idempotencyKey=f"k{i}", tags=["t"]) for i in range(count)]
    submit_many(requests[1:])
    before = stored()
    outcomes = submit_many([*requests, request(tags=["t"])])
    assert [o.is_new for o in outcomes if isinstance(o, Submitted)] == [True, *[False] * (count - 1), True]
    assert stored() == (before[0] + 2, before[1] + 1, before[2] + 2, before[3] + 2)


def test_a_batch_may_be_larger_than_a_statement() -> None:
    outcomes = submit_many([request({"value": i}, idempotencyKey=f"k{i}", tags=["t"]) for i in range(1001)])
    assert len({o.id for o in outcomes if isinstance(o, Submitted) and o.is_new}) == 1001
    assert stored() == (1001, 1001, 1001, 1001)


# --- statements: what the speed rests on -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "statements"),
    [
        ([{}], 2),
        ([{"idempotencyKey": "k"}], 3),
        ([{"idempotencyKey": f"k{i}"} for i in range(20)], 3),
        ([{"idempotencyKey": f"k{i}"} if i % 2 else {} for i in range(20)], 3),
    ],
    ids=["one job", "one job with a key", "twenty jobs with keys", "half of twenty jobs with keys"],
)
def test_accepting_costs_few_statements(
    members: list[dict[str, Any]], statements: int, django_assert_num_queries: Any
) -> None:
    """All in one on PostgreSQL; keys where there are any, jobs and events on SQLite."""
    requests = [request(**some) for some in members]
    with transaction.atomic(), django_assert_num_queries(1 if connection.vendor == "postgresql" else statements):
        submit_many(requests)


# --- the caller's transaction ----------------------------------------------------------------------------


def test_a_rolled_back_transaction_leaves_nothing_its_key_included() -> None:
    with transaction.atomic():
        jobs.submit("echo", key="k", tags=["t"])
        submission.offer([request(idempotencyKey="o")])
        assert stored() == (2, 2, 2, 1)
        transaction.set_rollback(True)
    assert stored() == (0, 0, 0, 0)
    assert jobs.submit("echo", key="k").is_new


def test_a_dry_run_answers_like_submit_and_stores_nothing() -> None:
    assert submission.dry_run(request(idempotencyKey="k")) is None
    with pytest.raises(InvalidPayload):
        submission.dry_run(request({"nope": 1}))
    first = jobs.submit("echo", {}, key="k", client="alice")
    replay = submission.dry_run(request(idempotencyKey="k"))
    assert replay is not None
    assert replay.id == first.id
    with pytest.raises(KeyReused):
        submission.dry_run(request({"value": 1}, idempotencyKey="k"))
    assert IdempotencyKey.objects.get().replays == 0


def test_a_callback_is_a_new_job_in_the_commit_that_ended_the_first(register: Register) -> None:
    def fails(job: Any, payload: Any) -> None:
        raise jobs.Permanent("no", "never")

    first = lives.attempt(jobs.submit(register(fails), callback_url="https://example.com/done").id)
    (callback,) = Job.objects.exclude(pk=first.pk)
    assert (callback.type, callback.client, callback.source) == ("webhook", "system:callback", "callback")
    assert (callback.payload["url"], callback.payload["event"]) == ("https://example.com/done", "job.failed")
    assert callback.payload["job"]["id"] == str(first.pk)
    assert callback.payload["job"]["error"] == {"code": "no", "message": "never"}


def test_a_job_that_goes_on_calls_nobody_back() -> None:
    first = lives.submit("echo", {"failTimes": 1}, callback_url="https://example.com/done")
    assert lives.attempt(first).status == "scheduled"
    assert Job.objects.count() == 1


def test_a_cancelled_job_calls_back_as_well() -> None:
    from jobs import operate
    from jobs.lifecycle import Actor

    first = lives.submit("echo", callback_url="https://example.com/done")
    operate.cancel(first, actor=Actor.CLIENT, who="alice")
    assert Job.objects.exclude(pk=first).get().payload["event"] == "job.cancelled"


def test_numbers_at_the_edge_are_stored_as_they_were_sent_and_can_be_told(alice: Caller) -> None:
    value = {"max": 2**63 - 1, "min": -(2**63), "tiny": 5e-324, "huge": 1.5e300}
    job_id = jobs.submit("echo", {"value": value}, client="alice").id
    assert lives.attempt(job_id).result == {"value": value, "attempt": 1}
    for path in (f"/api/jobs/{job_id}", f"/api/jobs/{job_id}/status", "/api/jobs"):
        assert alice.get(path).status_code == 200
    assert alice.get(f"/api/jobs/{job_id}").json()["payload"] == {"value": value}
