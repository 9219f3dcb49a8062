"""The API's addresses are those of the mount that a request came by, wherever a project has put it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client

from jobs import addresses, mirror, queue
from jobs.api.lane import Lane, lane
from jobs.models import Job
from tests.api.transports import Api, LaneTransport, Transport
from tests.support.callers import make_key
from tests.support.eventually import eventually

HERE = "tests.api.mounted"
ECHO = {"type": "echo"}

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def at(api: Api, settings: Any) -> Iterator[Any]:
    """`at(urls)`: the API over both ways, with these URLs."""
    transport: Transport = api.transport
    before = getattr(transport, "app", None)

    def use(urls: str, **more: Any) -> Api:
        for name, value in {"ROOT_URLCONF": f"{HERE}.{urls}", **more}.items():
            setattr(settings, name, value)
        if isinstance(transport, LaneTransport):
            transport.app = lane(transport.threads)
        return api

    yield use
    if isinstance(transport, LaneTransport):
        transport.app = before  # type: ignore[assignment]


def hold_to(api: Api, mount: str) -> None:
    """Every address in every answer lies in the mount, and leads somewhere."""
    created = api.post(f"{mount}/jobs", ECHO, Idempotency_Key=f"k{mount}")
    replayed = api.post(f"{mount}/jobs", ECHO, Idempotency_Key=f"k{mount}")
    assert (created.status, replayed.status) == (202, 200), created.body
    own = f"{quote(mount)}/jobs/{created.json()['id']}"
    links = {"self": own, "status": f"{own}/status", "cancel": f"{own}/cancel", "retry": f"{own}/retry"}
    assert created.headers["location"] == replayed.headers["location"] == links["status"]
    assert created.json()["links"] == replayed.json()["links"] == links
    eventually(lambda: mirror.peek(Job.objects.get(key=f"k{mount}").pk))
    for _ in range(2):  # the second one by a head that is known
        assert api.get(links["status"]).json()["links"] == links
    assert api.get(links["self"]).json()["links"] == links
    assert api.post(links["cancel"]).json()["links"] == links
    assert api.post(links["retry"]).json()["links"] == links
    assert [job["links"] for job in api.get(f"{mount}/jobs?key={quote(f'k{mount}')}").json()["items"]] == [links]
    (item,) = api.post(f"{mount}/jobs/batch", {"jobs": [{**ECHO, "idempotencyKey": f"k{mount}"}]}).json()["items"]
    assert item["job"]["links"] == links
    schema = api.get(f"{mount}/schema").json()
    assert f"{quote(mount)}/jobs/{{id}}/status" in schema["paths"]
    assert schema["servers"] == [{"url": "/"}]
    script = api.get(f"{mount}/docs?script=", Accept="*/*").body.decode().replace("\\u002D", "-")
    assert f'"{quote(mount)}/schema"' in script
    if mount:
        assert api.get(f"{mount}/nothing").code == "not-found"


def test_links_lead_into_the_mount_that_was_asked(at: Any) -> None:
    api = at("deep")
    hold_to(api, "/internal/queue")
    transport: Any = api.transport
    if isinstance(transport, LaneTransport):
        assert set(transport.app.mounts) == {"/internal/queue/jobs", "/interne/größe/jobs"}  # type: ignore[attr-defined]


def test_each_of_two_mounts_answers_with_its_own_addresses(at: Any) -> None:
    api = at("deep")
    job = api.post("/internal/queue/jobs", ECHO).json()
    other = f"/interne/gr%C3%B6%C3%9Fe/jobs/{job['id']}"
    assert api.get(f"{other}/status").json()["links"]["self"] == other
    assert api.get(job["links"]["status"]).json()["links"] == job["links"]


@pytest.mark.parametrize(("urls", "mount"), [("named", "/tasks"), ("bare", ""), ("bare", "/en-gb/api")])
def test_a_namespace_a_root_and_a_language_are_mounts_like_others(at: Any, urls: str, mount: str) -> None:
    hold_to(at(urls), mount)


def test_what_belongs_to_the_project_stays_as_the_project_made_it(at: Any) -> None:
    api = at("deep")
    assert api.get("/internal/queue/shop").body == b"no such thing"
    assert at("shadowed").post("/api/jobs", ECHO).body == b"theirs"


def test_probes_and_metrics_are_described_where_they_are(at: Any) -> None:
    api = at("deep")
    assert api.get("/probes/health/live").json() == {"status": "live"}
    assert "/probes/health/live" in api.get("/internal/queue/schema").json()["paths"]
    paths = at("named").get("/tasks/schema").json()["paths"]
    assert not [path for path in paths if "health" in path or "metrics" in path]


def test_the_script_name_of_the_server_is_in_every_address(settings: Any) -> None:
    settings.ROOT_URLCONF = f"{HERE}.deep"
    http = Client(
        SCRIPT_NAME="/front door",
        headers={"Authorization": f"Bearer {make_key('alice', ['jobs:create', 'jobs:read'])}"},
    )
    created = http.post("/internal/queue/jobs", ECHO, content_type="application/json")
    own = f"/front%20door/internal/queue/jobs/{created.json()['id']}"
    assert created.headers["Location"] == f"{own}/status"
    assert created.json()["links"]["self"] == own
    schema = http.get("/internal/queue/schema").json()
    assert schema["servers"] == [{"url": "/front door"}]
    assert "/internal/queue/jobs/{id}/status" in schema["paths"]


def test_a_forced_script_name_is_in_every_address(at: Any) -> None:
    api = at("deep", FORCE_SCRIPT_NAME="/front")
    for _ in range(2):
        created = api.post("/internal/queue/jobs", ECHO)
        assert created.headers["location"] == f"/front/internal/queue/jobs/{created.json()['id']}/status"
    status = api.get(created.headers["location"].removeprefix("/front"))
    assert status.json()["links"] == created.json()["links"]
    assert addresses.mounted_at() == "/front/interne/gr%C3%B6%C3%9Fe"


def test_a_root_path_of_the_server_is_taken_off_and_put_into_addresses(
    lane_transport: LaneTransport, settings: Any
) -> None:
    api = Api(lane_transport)
    app = lane_transport.app

    async def below(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "root_path": "/front", "path": "/front" + scope["path"]}, receive, send)

    lane_transport.app = below
    try:
        created = api.post("/api/jobs", ECHO)
    finally:
        lane_transport.app = app
    assert created.headers["location"] == f"/front/api/jobs/{created.json()['id']}/status"


def test_the_lane_steps_aside_where_a_mount_is_not_the_same_for_all(settings: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    settings.ROOT_URLCONF = f"{HERE}.bare"
    found: Any = lane(app)
    assert isinstance(found, Lane)
    assert found.mounts == {"/jobs": ""}
    settings.ROOT_URLCONF = f"{HERE}.shadowed"
    found = lane(app)
    assert found.mounts == {}


@pytest.mark.parametrize(("urls", "base"), [("named", "/tasks"), ("shadowed", "/api"), ("bare", ""), ("absent", None)])
def test_without_a_request_addresses_are_reversed(settings: Any, urls: str, base: str | None) -> None:
    settings.ROOT_URLCONF = f"{HERE}.{urls}"
    if urls == "bare":
        assert addresses.mounted_at() in ("", "/en-gb/api")
    else:
        assert addresses.mounted_at() == base
    document = addresses.add_links({"id": "x", "links": {"self": "/of/old"}}, base)
    assert document.get("links", {}).get("self") == (None if base is None else f"{base}/jobs/x")


def test_what_is_stored_holds_no_address(django_api: Api) -> None:
    job = django_api.submit()
    raw: Any = eventually(lambda: queue.broker().get(f"{mirror.STATUS}{job['id']}"))
    assert "links" not in json.loads(raw)["status"]


def test_the_schema_needs_no_settings_of_django_rest_framework(settings: Any, django_api: Api) -> None:
    from jobs.api import describing

    settings.REST_FRAMEWORK = {"DEFAULT_SCHEMA_CLASS": "rest_framework.schemas.openapi.AutoSchema"}
    describing._described.cache_clear()
    answer = django_api.get("/api/schema")
    assert answer.status == 200
    assert answer.json()["components"]["schemas"]["JobStatus"]
