"""manage.py apikey."""

from __future__ import annotations

import datetime as dt
import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from jobs.api import keys
from jobs.models import ApiKey
from tests.api.transports import Api, DjangoTransport


def run(*arguments: str) -> str:
    """What the command writes to stdout."""
    out = io.StringIO()
    call_command("apikey", *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue().strip()


def run_json(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


@pytest.mark.django_db
def test_a_created_key_works_and_is_all_that_stdout_holds() -> None:
    text = run("create", "shop")
    assert keys.TOKEN.fullmatch(text)
    assert Api(DjangoTransport(), "shop", key=text).submit()
    assert ApiKey.objects.get().scopes == list(keys.USUAL_SCOPES)


@pytest.mark.django_db
def test_scopes_and_expiry_are_taken() -> None:
    document = run_json("create", "shop", "--scopes", "jobs:read,jobs:all", "queues:manage", "--expires", "90d")
    key = ApiKey.objects.get()
    assert document["scopes"] == key.scopes == ["jobs:read", "jobs:all", "queues:manage"]
    assert key.expires_at is not None
    assert abs(key.expires_at - timezone.now() - dt.timedelta(days=90)) < dt.timedelta(minutes=1)


@pytest.mark.django_db
def test_a_list_shows_no_secret() -> None:
    text = run("create", "shop")
    assert text[12:] not in run("list")
    (item,) = run_json("list")["items"]
    assert (item["prefix"], item["client"], item["state"]) == (text[3:11], "shop", "valid")
    assert "key" not in item


@pytest.mark.django_db
def test_rotating_keeps_the_client_and_revoking_ends_a_key() -> None:
    old = run("create", "shop")
    new = run_json("rotate", old[3:11], "--overlap", "60")
    assert new["client"] == "shop"
    api = Api(DjangoTransport(), "shop", key=new["key"])
    assert api.get("/api/queues").status == 200
    assert run_json("revoke", new["prefix"])["state"] == "revoked"
    assert api.get("/api/queues").status == 401
    assert {item["state"] for item in run_json("list")["items"]} == {"valid", "revoked"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "system"),
        ("create", "shop", "--scopes", "jobs:everything"),
        ("create", "shop", "--expires", "someday"),
        ("create", "shop", "--expires", "2020-01-01T00:00:00Z"),
        ("create", "shop", "--expires", "2030-01-01T00:00:00"),
        ("create", "shop", "--expires", "9" * 20 + "d"),
        ("revoke", "nonsense"),
        ("rotate", "nonsense"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence_with_exit_code_2(arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError) as error:
        run(*arguments)
    assert error.value.returncode == 2
    assert not ApiKey.objects.exists()
