"""The fast lane: the same answers, no waiting on the event loop, nothing lost when a client hangs up."""

from __future__ import annotations

import asyncio
import re
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.utils.deprecation import MiddlewareMixin
from django.utils.module_loading import import_string
from pydantic import BaseModel, field_validator

from jobs import mirror, registry
from jobs.api import heads
from jobs.api import lane as lane_module
from jobs.api.lane import Lane, lane
from jobs.models import Job
from jobs.registry import handler
from tests.api.holding import held_database
from tests.api.transports import Answer, Api, DjangoTransport, LaneTransport
from tests.support.eventually import eventually

VARYING = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f-]{21}|\d{4}-\d\d-\d\dT[\d:.]+Z|\"requestId\":\"\w+\"")


@pytest.fixture
def fast(lane_transport: LaneTransport, transactional_db: None) -> Api:
    api = Api(lane_transport)
    api.get("/api/queues")  # its key is cached from here on
    return api


class ViewNeeded(Exception):
    """A view was called that is not there."""


class Counting(MiddlewareMixin):
    """Pure, but it does not treat all requests with one head alike."""

    is_pure = True
    count = 0

    def process_response(self, request: Any, response: Any) -> Any:
        self.count += 1
        response.headers["X-Count"] = str(self.count)
        return response


def lane_of(api: Api) -> Lane:
    transport: Any = api.transport
    found: Lane = transport.app
    return found


@contextmanager
def without_views(api: Api) -> Iterator[None]:
    """The lane has to do without its views."""

    def missing(*arguments: Any, **named: Any) -> Any:
        raise ViewNeeded

    views = lane_of(api).views
    kept = dict(views)
    views.update(dict.fromkeys(views, missing))
    try:
        yield
    finally:
        views.update(kept)


def without_varying(answer: Answer) -> tuple[int, dict[str, str], str]:
    """Ids, times and what is derived from them differ from request to request."""
    headers = {n: VARYING.sub("…", v) for n, v in answer.headers.items() if n not in ("x-request-id", "etag")}
    return answer.status, headers, VARYING.sub("…", answer.body.decode())


REQUESTS: list[tuple[str, str, Any, dict[str, str]]] = [
    ("POST", "/api/jobs", {"type": "echo", "idempotencyKey": "k"}, {}),
    ("POST", "/api/jobs", {"type": "echo", "idempotencyKey": "k"}, {}),
    ("POST", "/api/jobs", {"type": "echo", "idempotencyKey": "k", "tags": ["x"]}, {}),
    ("POST", "/api/jobs", {"type": "none"}, {}),
    ("POST", "/api/jobs", {"type": "echo", "payload": {"no": 1}}, {}),
    ("POST", "/api/jobs", b"{", {}),
    ("POST", "/api/jobs", b"x" * 300_000, {}),
    ("POST", "/api/jobs", {"type": "echo"}, {"Content_Type": "text/plain"}),
    ("POST", "/api/jobs", {"type": "echo"}, {"Accept": "text/html"}),
    ("POST", "/api/jobs", {"type": "echo"}, {"Authorization": "Bearer nonsense"}),
    ("POST", "/api/jobs?x=1", {"type": "echo"}, {}),
    ("GET", "/api/jobs/{id}/status", None, {}),
    ("GET", "/api/jobs/{id}/status", None, {"If_None_Match": "*"}),
    ("GET", "/api/jobs/{id}/status?x=1", None, {}),
    ("GET", "/api/jobs/nonsense/status", None, {}),
    ("GET", "/health/live", None, {}),
]


def test_the_lane_answers_as_django_does(fast: Api) -> None:
    plain = Api(DjangoTransport(), "bob")
    jobs = [api.submit() for api in (fast, plain)]
    for method, path, body, headers in REQUESTS:
        answers = [
            api.call(method, path.replace("{id}", job["id"]), body, **headers)
            for api, job in zip((fast, plain), jobs, strict=True)
        ]
        assert without_varying(answers[0]) == without_varying(answers[1]), (method, path, body, headers)


def test_a_head_that_was_answered_before_gets_the_same_answers(fast: Api) -> None:
    plain = Api(DjangoTransport(), "bob")
    jobs = [api.submit() for api in (fast, plain)]
    for method, path, body, headers in [request for request in REQUESTS for _ in range(3)]:
        answers = [
            api.call(method, path.replace("{id}", job["id"]), body, **headers)
            for api, job in zip((fast, plain), jobs, strict=True)
        ]
        assert without_varying(answers[0]) == without_varying(answers[1]), (method, path, body, headers)


@pytest.mark.parametrize(
    "headers", [{}, {"Idempotency_Key": "k"}, {"X_Request_Id": "mine"}, {"X_Forwarded_For": "::1"}]
)
def test_a_head_that_was_answered_before_needs_no_view(fast: Api, headers: dict[str, str]) -> None:
    job = fast.submit()
    link = job["links"]["status"]
    eventually(lambda: mirror.peek(uuid.UUID(job["id"])))  # the push follows the answer
    assert fast.get(link).status == 200
    with without_views(fast):
        created = fast.post("/api/jobs", {"type": "echo"}, **headers)
        polled = fast.get(link, **headers)
        assert (created.status, polled.status) == (202, 200)
        assert (created.headers["x-request-id"] == "mine") == ("X_Request_Id" in headers)
        assert fast.get(link, If_None_Match=polled.headers["etag"]).status == 304


@pytest.mark.parametrize("headers", [{"Accept": "*/*"}, {"User_Agent": "another"}, {"X_Forwarded_Proto": "https"}])
def test_another_head_needs_the_view(fast: Api, headers: dict[str, str]) -> None:
    fast.submit()
    with without_views(fast), pytest.raises(ViewNeeded):
        fast.post("/api/jobs", {"type": "echo"}, **headers)


def test_what_is_refused_needs_the_view_and_is_counted_once(fast: Api, settings: Any) -> None:
    settings.JOBS_RATE_LIMIT = "5/h"
    fast.submit()
    for _ in range(3):
        assert fast.post("/api/jobs", {"type": "echo", "tags": 1}).status == 400
    assert fast.submit()
    assert fast.post("/api/jobs", {"type": "echo"}).status == 429


def test_heads_are_learned_anew_when_there_are_many(fast: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "MOST", 3)
    for number in range(10):
        fast.post("/api/jobs", {"type": "echo"}, User_Agent=f"agent {number}")
        assert len(lane_of(fast).heads) <= 3


def test_middleware_that_may_tell_like_heads_apart_is_asked_each_time(settings: Any, fast: Api) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.Counting"]
    transport: Any = fast.transport
    before, transport.app = transport.app, lane(transport.threads)
    try:
        counts = [fast.post("/api/jobs", {"type": "echo"}).headers["x-count"] for _ in range(3)]
    finally:
        transport.app = before
    assert counts == ["1", "2", "3"]


def test_a_database_that_hangs_holds_neither_polls_nor_the_health_check(fast: Api) -> None:
    link = fast.submit()["links"]["status"]
    fast.get(link)
    answers: list[Answer] = []
    creating = threading.Thread(target=lambda: answers.append(fast.post("/api/jobs", {"type": "echo"})))
    with held_database():
        creating.start()
        time.sleep(0.1)
        begun = time.monotonic()
        assert fast.get("/health/live").status == 200
        assert fast.get(link).status == 200
        assert time.monotonic() - begun < 4  # the database stays held until a create gives up
        assert not answers
    creating.join(10)
    assert [answer.status for answer in answers] == [202]


def test_a_client_that_hangs_up_while_its_job_is_committed_stops_nobody(fast: Api) -> None:
    headers = {"Authorization": f"Bearer {fast.key}", "Content-Type": "application/json"}
    transport: Any = fast.transport
    with held_database():
        call = transport.answer("POST", "/api/jobs", [b'{"type":"echo","idempotencyKey":"gone"}'], headers)
        left = asyncio.run_coroutine_threadsafe(call, transport.loop)
        time.sleep(0.1)
        left.cancel()
    eventually(lambda: Job.objects.filter(key="gone").exists())
    assert fast.post("/api/jobs", {"type": "echo", "idempotencyKey": "gone"}).status == 200
    assert fast.submit()


def test_many_creates_at_once_share_commits_and_each_gets_its_own_answer(fast: Api) -> None:
    transport: Any = fast.transport
    headers = {"Authorization": f"Bearer {fast.key}", "Content-Type": "application/json"}
    bodies = [b'{"type":"echo","payload":{"value":%d},"idempotencyKey":"k%d"}' % (n % 40, n % 40) for n in range(120)]

    async def all_at_once() -> Any:
        return await asyncio.gather(*[transport.answer("POST", "/api/jobs", [body], headers) for body in bodies])

    answers: Any = transport.run(all_at_once())
    assert sorted(answer.status for answer in answers) == [200] * 80 + [202] * 40
    for body, answer in zip(bodies, answers, strict=True):
        assert answer.json()["idempotencyKey"].encode() in body
    assert Job.objects.count() == len({answer.json()["id"] for answer in answers}) == 40


def test_one_request_that_breaks_its_validator_breaks_no_other(fast: Api) -> None:
    class Broken(BaseModel):
        value: int

        @field_validator("value")
        @classmethod
        def fail(cls, value: int) -> int:
            raise RuntimeError

    transport: Any = fast.transport
    headers = {"Authorization": f"Bearer {fast.key}", "Content-Type": "application/json"}
    bodies = [b'{"type":"%s","payload":{"value":1}}' % (b"broken" if n == 7 else b"echo") for n in range(20)]

    async def all_at_once() -> Any:
        return await asyncio.gather(*[transport.answer("POST", "/api/jobs", [body], headers) for body in bodies])

    handler("broken", payload=Broken)(lambda job, payload: None)
    try:
        answers: Any = transport.run(all_at_once())
    finally:
        registry.unregister("broken")
    assert [answer.status for answer in answers] == [500 if n == 7 else 202 for n in range(20)]


def test_middleware_that_might_do_io_closes_the_lane(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    assert isinstance(lane(app), Lane)
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
    assert lane(app) is app
    assert "LocaleMiddleware" in caplog.text


def test_every_middleware_of_the_project_is_known_to_the_lane(settings: Any) -> None:
    ours = [import_string(path) for path in settings.MIDDLEWARE]
    for path in lane_module.PURE | lane_module.NEEDLESS:
        assert any(issubclass(one, import_string(path)) for one in ours if isinstance(one, type)), path
