"""Who gets in: keys, scopes, the admin's session, and the rate limit."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import URLPattern
from django.utils import timezone

from jobs.api import access, keys
from jobs.api.urls import urlpatterns
from jobs.models import ApiKey, Job, QueueState
from tests.api.transports import Api
from tests.support.world import World

ECHO = {"type": "echo"}
MISSING = "01a210d8-37fc-7055-a8c8-5cf29c2f7cf1"


def views() -> list[tuple[str, str, str]]:
    """(method, path, needed scope) of every view behind a key, from the URLs themselves."""
    found = []
    for pattern in urlpatterns:
        assert isinstance(pattern, URLPattern)
        path = str(pattern.pattern).replace("<str:id>", MISSING)
        path = path.replace("<str:type>", "echo").replace("<str:name>", "low")
        scopes: dict[str, str] = getattr(pattern.callback.view_class, "scopes", {})  # type: ignore[attr-defined]
        found += [(method, f"/api/{path}", scope) for method, scope in scopes.items()]
    return found


@pytest.mark.parametrize(("method", "path", "scope"), views())
def test_every_view_needs_its_scope(django_api: Api, method: str, path: str, scope: str) -> None:
    others = [name for name in keys.SCOPES if name != scope]
    answer = Api(django_api.transport, "poor", others).call(method, path, {})
    assert (answer.status, answer.code) == (403, "missing-scope")
    assert scope in answer.json()["detail"]
    assert Api(django_api.transport, "rich", [scope]).call(method, path, {}).status not in (401, 403)


@pytest.mark.parametrize(("method", "path", "scope"), views())
def test_every_view_needs_a_key(django_api: Api, method: str, path: str, scope: str) -> None:
    answer = django_api.call(method, path, {}, Authorization="")
    assert (answer.status, answer.code) == (401, "not-authenticated")


@pytest.mark.parametrize(
    "header",
    ["Bearer", "Bearer ", "Bearer nonsense", "Basic dXNlcjpwdw==", "bearer jk_AAAAAAAA_" + "x" * 43, "jk_x", "Bearer \xff", "Bearer jk_AAAAAAAA_" + "x" * 5000],
)  # fmt: skip
def test_a_key_that_is_none_is_a_401(api: Api, header: str) -> None:
    answer = api.post("/api/jobs", ECHO, Authorization=header)
    assert (answer.status, answer.code) == (401, "bad-key")
    assert not Job.objects.exists()


def test_the_right_prefix_with_another_secret_is_a_401(api: Api) -> None:
    assert api.post("/api/jobs", ECHO).status == 202  # the prefix is cached now
    wrong = api.key[:-1] + ("A" if api.key[-1] != "A" else "B")
    assert api.post("/api/jobs", ECHO, Authorization=f"Bearer {wrong}").status == 401


def test_a_revoked_key_stops_working(api: Api) -> None:
    assert api.post("/api/jobs", ECHO).status == 202
    keys.revoke(ApiKey.objects.get(client="alice"))
    assert api.post("/api/jobs", ECHO).status == 401


def test_a_revocation_by_another_process_acts_within_seconds(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    assert api.post("/api/jobs", ECHO).status == 202
    ApiKey.objects.update(revoked_at=timezone.now())
    monkeypatch.setattr(keys, "CACHE_S", 0)
    assert api.post("/api/jobs", ECHO).status == 401


def test_a_key_expires_even_while_it_is_cached(api: Api) -> None:
    soon = timezone.now() + dt.timedelta(milliseconds=400)
    _, text = keys.create("brief", ["jobs:create"], expires_at=soon)
    brief = Api(api.transport, "brief", key=text)
    assert brief.post("/api/jobs", ECHO).status == 202
    while timezone.now() < soon:
        pass
    assert brief.post("/api/jobs", ECHO).status == 401


def test_rotation_keeps_the_client_and_its_rights_and_lets_both_keys_work_for_a_while(api: Api) -> None:
    mine = api.submit()
    new, text = keys.rotate(ApiKey.objects.get(client="alice"), overlap_s=60)
    rotated = Api(api.transport, "alice", key=text)
    assert (new.client, new.scopes) == ("alice", ApiKey.objects.get(pk=new.pk).scopes)
    assert rotated.get(mine["links"]["self"]).status == 200
    assert api.get(mine["links"]["self"]).status == 200
    keys.rotate(ApiKey.objects.get(prefix=api.key[3:11]), overlap_s=0)
    assert api.get(mine["links"]["self"]).status == 401


def test_a_revoked_key_cannot_be_rotated(django_api: Api) -> None:
    key = ApiKey.objects.get(client="alice")
    keys.revoke(key)
    key.refresh_from_db()
    with pytest.raises(ValueError, match="revoked"):
        keys.rotate(key)


def test_the_secret_is_stored_nowhere(django_api: Api) -> None:
    secret = django_api.key.rpartition("_")[2] if django_api.key.count("_") == 2 else django_api.key[12:]
    row = ApiKey.objects.values().get()
    assert secret not in repr(row)
    assert django_api.key[12:] not in repr(row)


def test_when_a_key_was_last_used_is_known_to_the_minute(django_api: Api) -> None:
    assert ApiKey.objects.get().last_used_at is None
    django_api.get("/api/queues")
    used = ApiKey.objects.get().last_used_at
    assert used is not None
    assert timezone.now() - used < dt.timedelta(minutes=1)


@pytest.mark.parametrize("client", ["", "system", "System:schedule", "user:1", "a b", "x" * 65, "ü", "-x"])
def test_a_client_cannot_take_a_reserved_or_odd_name(db: None, client: str) -> None:
    with pytest.raises(ValueError, match="client name"):
        keys.create(client)


@pytest.mark.parametrize("scopes", [["jobs:everything"], []])
def test_a_key_has_known_scopes(db: None, scopes: list[str]) -> None:
    with pytest.raises(ValueError, match="scope"):
        keys.create("alice", scopes)


# --- the admin's session ---------------------------------------------------------------------------


def browser(*permissions: str, is_staff: bool = True, **columns: Any) -> Client:
    """A logged-in browser that enforces CSRF as production does."""
    user = User.objects.create_user(f"user-{uuid.uuid4().hex[:8]}", is_staff=is_staff, **columns)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions, content_type__app_label="jobs"))
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    client.force_login(user)
    return client


def with_token(client: Client) -> dict[str, str]:
    client.cookies["csrftoken"] = "t" * 32
    return {"X-CSRFToken": "t" * 32}


def test_a_session_may_read_without_and_write_only_with_the_csrf_token(db: None) -> None:
    staff = browser(is_superuser=True)
    assert staff.get("/api/jobs").status_code == 200
    refused = staff.post("/api/jobs", ECHO, content_type="application/json")
    assert (refused.status_code, refused.json()["code"]) == (403, "csrf")
    assert not Job.objects.exists()
    accepted = staff.post("/api/jobs", ECHO, content_type="application/json", headers=with_token(staff))
    assert accepted.status_code == 202
    assert Job.objects.get().client.startswith("user:")


@pytest.mark.parametrize(("scope", "permission"), access.PERMISSIONS.items())
def test_a_session_has_the_scopes_that_djangos_permissions_give(db: None, scope: str, permission: str) -> None:
    staff = browser(permission.removeprefix("jobs."))
    others = [(method, path, needed) for method, path, needed in views() if needed in access.PERMISSIONS]
    for method, path, needed in others:
        answer = staff.generic(method, path, "{}", "application/json", headers=with_token(staff))
        assert (answer.status_code == 403) == (access.PERMISSIONS[needed] != permission), (method, path)
    assert scope in keys.SCOPES


def test_an_operator_is_named_in_what_he_does(db: None) -> None:
    staff = browser(is_superuser=True)
    job = staff.post("/api/jobs", ECHO, content_type="application/json", headers=with_token(staff)).json()
    assert staff.post(job["links"]["cancel"], headers=with_token(staff)).status_code == 200
    event = Job.objects.get().events.last()
    assert event is not None
    assert (event.actor, event.who) == ("operator", User.objects.get().username)


@pytest.mark.parametrize("columns", [{"is_staff": False, "is_superuser": True}, {"is_staff": False}])
def test_a_session_of_somebody_who_is_not_staff_is_a_401(db: None, columns: dict[str, bool]) -> None:
    assert browser(**columns).get("/api/jobs").status_code == 401


def test_a_header_decides_alone(db: None) -> None:
    staff = browser(is_superuser=True)
    assert staff.get("/api/jobs", headers={"Authorization": "Bearer nonsense"}).status_code == 401


def test_pausing_is_recorded_with_the_name(django_api: Api) -> None:
    assert django_api.post("/api/queues/low/pause").json()["pausedBy"] == "alice"
    assert QueueState.objects.get(name="low").paused_by == "alice"


# --- the rate limit ----------------------------------------------------------------------------------


def test_a_client_that_asks_too_often_is_told_when_to_come_back(api: Api, other: Api, settings: Any) -> None:
    settings.JOBS_RATE_LIMIT = "5/h"
    statuses = [api.post("/api/jobs", ECHO).status for _ in range(7)]
    assert statuses == [202] * 5 + [429] * 2
    refused = api.get("/api/queues")
    assert (refused.status, refused.code) == (429, "rate-limited")
    assert 1 <= int(refused.headers["retry-after"]) <= 3600
    assert other.post("/api/jobs", ECHO).status == 202
    assert Job.objects.count() == 6


def test_lots_never_grant_more_than_the_limit(django_api: Api, settings: Any) -> None:
    settings.JOBS_RATE_LIMIT = "250/h"
    statuses = [django_api.get("/api/job-types/echo").status for _ in range(255)]
    assert statuses == [200] * 250 + [429] * 5


def test_some_keys_have_no_limit(api: Api, settings: Any) -> None:
    settings.JOBS_RATE_LIMIT = "1/h"
    _, text = keys.create("free", ["jobs:create"], is_unlimited=True)
    free = Api(api.transport, "free", key=text)
    assert [free.post("/api/jobs", ECHO).status for _ in range(3)] == [202] * 3


def test_an_empty_limit_is_none(django_api: Api, settings: Any) -> None:
    settings.JOBS_RATE_LIMIT = ""
    assert [django_api.get("/api/queues").status for _ in range(3)] == [200] * 3


def test_without_redis_everybody_is_let_through_and_jobs_are_accepted(api: Api, world: World, settings: Any) -> None:
    settings.JOBS_RATE_LIMIT = "1/h"
    world.kill_broker()
    assert [api.post("/api/jobs", ECHO).status for _ in range(3)] == [202] * 3
    assert api.get(f"/api/jobs/{Job.objects.first().pk}/status").status == 200  # type: ignore[union-attr]
