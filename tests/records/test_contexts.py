"""Each attempt starts in the same world, whatever the one before it on the thread has set."""

from __future__ import annotations

import asyncio
import contextvars
import decimal
import threading
from typing import Any

import pytest
from asgiref.local import Local
from asgiref.sync import sync_to_async
from django.core.cache import caches
from django.db import connection
from django.urls import get_script_prefix, get_urlconf, set_script_prefix, set_urlconf
from django.utils import timezone, translation
from pydantic import BaseModel, field_validator

from jobs.context import JobContext
from tests.records.conftest import Register
from tests.support import lives

pytestmark = pytest.mark.django_db(transaction=True)

TENANT: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="none")
LOCAL = Local()


def seen() -> list[Any]:
    return [
        TENANT.get(),
        str(timezone.get_current_timezone()),
        translation.get_language(),
        get_urlconf(),
        get_script_prefix(),
        getattr(LOCAL, "user", None),
        decimal.getcontext().prec,
    ]


def spoil() -> None:
    TENANT.set("tenant-a")
    timezone.activate("Asia/Tokyo")
    translation.activate("de")
    set_urlconf("jobs.api.urls")
    set_script_prefix("/elsewhere/")
    LOCAL.user = "ada"
    decimal.getcontext().prec = 3


def plain(job: JobContext, payload: Any) -> list[Any]:
    found = seen()
    spoil()
    return found


async def awaiting(job: JobContext, payload: Any) -> list[Any]:
    found = [*seen(), *await sync_to_async(seen)()]
    spoil()
    await sync_to_async(spoil)()
    return found


def raising(job: JobContext, payload: Any) -> None:
    spoil()
    raise SystemExit


def leaving_a_thread(job: JobContext, payload: Any) -> None:
    thread = threading.Thread(target=contextvars.copy_context().run, args=(spoil,))
    thread.start()
    thread.join()
    asyncio.run(awaiting(job, payload))


class Spoiling(BaseModel):
    value: int = 0

    @field_validator("value")
    @classmethod
    def _spoil(cls, value: int) -> int:
        if value:
            spoil()
        return value


CLEAN = ["none", "UTC", "en-gb", None, "/", None, 28]


@pytest.mark.parametrize("first", [plain, awaiting, raising, leaving_a_thread])
def test_what_a_handler_sets_is_gone_at_the_next_start(first: Any, register: Register) -> None:
    sync, not_sync = register(plain), register(awaiting)
    for _ in range(2):
        lives.attempt(lives.submit(register(first)))
        assert lives.attempt(lives.submit(sync)).result == CLEAN
        assert lives.attempt(lives.submit(not_sync)).result == CLEAN + CLEAN


def test_what_a_payload_sets_while_it_is_read_is_gone_at_the_next_start(register: Register) -> None:
    """A validator is the handler's code as well; its own attempt sees what it has set."""
    spoiling = register(plain, payload=Spoiling)
    # It is read when it is submitted, too: that is the submitter's own affair, and here this test's.
    job_id = contextvars.copy_context().run(lives.submit, spoiling, {"value": 1})
    lives.attempt(job_id)
    assert lives.attempt(lives.submit(register(plain))).result == CLEAN


def test_the_callers_context_is_not_the_handlers(register: Register) -> None:
    def inside() -> Any:
        spoil()
        with decimal.localcontext():
            return lives.attempt(lives.submit(register(plain))).result

    assert contextvars.Context().run(inside) == CLEAN


def test_a_cache_keeps_its_connection_over_the_attempts_of_a_thread(register: Register) -> None:
    found: list[Any] = []
    name = register(lambda job, payload: found.append(caches["default"]))
    lives.attempt(lives.submit(name))
    lives.attempt(lives.submit(name))
    assert found[0] is found[1]


def test_the_helper_of_an_async_handler_keeps_its_connection(register: Register) -> None:
    found: list[Any] = []

    async def work(job: JobContext, payload: Any) -> None:
        def ask() -> None:
            connection.ensure_connection()
            found.append((threading.get_ident(), id(connection.connection)))

        await sync_to_async(ask)()

    name = register(work)
    lives.attempt(lives.submit(name))
    lives.attempt(lives.submit(name))
    assert found[0] == found[1]
    assert found[0][0] != threading.get_ident()
