"""Clients of the API, over both ways that lead to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from jobs.api import access
from tests.api.transports import Api, DjangoTransport, LaneTransport, Transport


@pytest.fixture(scope="session")
def lane_transport() -> Iterator[LaneTransport]:
    transport = LaneTransport()
    yield transport
    transport.close()


@pytest.fixture(params=["django", "lane"])
def transport(request: pytest.FixtureRequest, transactional_db: None) -> Transport:
    """Each test that asks for it runs twice. Real commits: the lane's threads have to see them."""
    if request.param == "django":
        return DjangoTransport()
    found: Any = request.getfixturevalue("lane_transport")
    return found


@pytest.fixture(autouse=True)
def fresh_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process took out of a window goes with the Redis that counted it; so does its memory of an outage."""
    monkeypatch.setattr(access, "_spare", {})
    monkeypatch.setattr(access, "_quiet_until", 0.0)


@pytest.fixture
def api(transport: Transport) -> Api:
    return Api(transport)


@pytest.fixture
def other(transport: Transport) -> Api:
    """Another client: must not see anything of the first one's."""
    return Api(transport, "bob")


@pytest.fixture
def django_api(db: None) -> Api:
    """For what only Django's handler serves, or where the way makes no difference."""
    return Api(DjangoTransport())
