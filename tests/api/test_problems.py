"""Every error is a problem document, whoever found it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from jobs import registry
from jobs.api.problems import TYPE
from jobs.api.rendering import ANY, is_acceptable
from jobs.models import Job
from jobs.registry import handler
from tests.api.transports import Api


@pytest.mark.parametrize(
    "path",
    ["/api/", "/api/nothing", "/api/jobs/", "/api/jobs/a/b/c", "/api/job-types/none", "/api/queues/none/pause", "/health/", "/health/x", "/metrics/x",
     "/api", "/health"],
)  # fmt: skip
def test_a_path_that_is_none_is_a_404(django_api: Api, path: str) -> None:
    answer = django_api.call("POST" if path.endswith("pause") else "GET", path)
    assert (answer.status, answer.code) == (404, "not-found")
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/jobs", "GET, HEAD, POST"),
        ("DELETE", "/api/jobs", "GET, HEAD, POST"),
        ("OPTIONS", "/api/jobs", "GET, HEAD, POST"),
        ("TRACE", "/api/jobs", "GET, HEAD, POST"),
        ("GET", "/api/jobs/batch", "POST"),
        ("POST", "/api/job-types", "GET, HEAD"),
        ("POST", "/health/live", "GET, HEAD"),
        ("NONSENSE", "/metrics", "GET, HEAD"),
    ],
)
def test_another_method_is_a_405_that_names_those_there_are(
    django_api: Api, method: str, path: str, allowed: str
) -> None:
    answer = django_api.call(method, path)
    assert (answer.status, answer.code) == (405, "method-not-allowed")
    assert answer.headers["allow"] == allowed


def test_head_is_get_without_a_body(django_api: Api) -> None:
    answer = django_api.call("HEAD", "/api/jobs")
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    "accept", ["text/html", "application/xml, text/*", "application/json;q=0", "*/*;q=0.0", "nonsense"]
)
def test_who_takes_no_json_is_told_so(api: Api, accept: str) -> None:
    answer = api.post("/api/jobs", {"type": "echo"}, Accept=accept)
    assert (answer.status, answer.code) == (406, "not-acceptable")
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "application/json",
        "application/*",
        "text/html, */*;q=0.8",
        "APPLICATION/JSON",
        "a/b, application/problem+json",
    ],
)
def test_who_takes_json_gets_it(accept: str) -> None:
    assert is_acceptable(accept, ANY)


@pytest.mark.parametrize("sent", ["abc-123", "A.b_c", "x" * 64])
def test_a_callers_request_id_is_kept(api: Api, sent: str) -> None:
    answer = api.post("/api/jobs", {}, X_Request_Id=sent)
    assert answer.headers["x-request-id"] == answer.json()["requestId"] == sent


@pytest.mark.parametrize("sent", ["x" * 65, "a b", "<script>", "é", ""])
def test_a_request_id_that_could_do_harm_is_replaced(api: Api, sent: str) -> None:
    answer = api.post("/api/jobs", {"type": "echo"}, X_Request_Id=sent)
    assert answer.headers["x-request-id"] != sent
    assert len(answer.headers["x-request-id"]) == 16


def test_a_host_that_is_not_allowed_is_a_problem_and_stores_nothing(api: Api, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["jobs.example.com"]
    answer = api.post("/api/jobs", {"type": "echo"})
    assert (answer.status, answer.code) == (400, "malformed")
    assert not Job.objects.exists()


def test_the_type_names_the_code_and_the_title_is_always_the_same(django_api: Api) -> None:
    problems = [django_api.get(path).json() for path in ("/api/nothing", "/api/jobs/none")]
    assert {problem["type"] for problem in problems} == {TYPE + "not-found"}
    assert {problem["title"] for problem in problems} == {"Not found"}


def test_a_defect_of_ours_is_a_500_that_gives_nothing_away(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(BaseModel):
        value: int

        @field_validator("value")
        @classmethod
        def fail(cls, value: int) -> int:
            raise RuntimeError("secret detail")

    handler("broken", payload=Broken)(lambda job, payload: None)
    try:
        body = b'{"type":"broken","payload":{"value":1}}'
        headers = {"Authorization": f"Bearer {api.key}", "Content-Type": "application/json", "X-Request-Id": "find-me"}
        answer = api.transport.send("POST", "/api/jobs", body, headers)
    finally:
        registry.unregister("broken")
    assert (answer.status, answer.code) == (500, "internal")
    assert b"secret" not in answer.body
    assert any("find-me" in record.getMessage() for record in caplog.records)
    assert not Job.objects.exists()
