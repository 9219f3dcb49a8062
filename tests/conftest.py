"""What every test may ask for: a broker, a database, clients with API keys, the system as processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from jobsite import broker
from tests.support import sandbox, world
from tests.support.callers import Caller, make_key


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """The database goes with its folder or server: dropping it would fail while threads still have connections."""
    return True


@pytest.fixture(scope="session")
def broker_server() -> Iterator[None]:
    """The embedded broker, started by the code that production uses."""
    broker.start(sandbox.folder())
    yield
    broker.stop(sandbox.folder())


@pytest.fixture(autouse=True)
def clean_broker(broker_server: None) -> None:
    """Each test begins with an empty Redis, even after one that killed it."""
    world.wipe()


@pytest.fixture
def alice(db: None) -> Caller:
    """An API client with every scope of a usual client, but not `jobs:all`."""
    return Caller("alice")


@pytest.fixture
def bob(db: None) -> Caller:
    """Another one: must not see anything of alice's."""
    return Caller("bob")


@pytest.fixture
def staff(db: None, client: Client) -> Client:
    """A browser logged in as a superuser named `staff`."""
    user = User.objects.create_superuser("staff", "staff@example.com", "password")
    client.force_login(user)
    return client


@pytest.fixture
def running_world(transactional_db: None) -> Iterator[world.World]:
    """The system as real processes, on the test database; nothing runs yet."""
    found = world.World(make_key("world", ["jobs:all", *Caller.SCOPES], is_unlimited=True), sandbox.folder())
    yield found
    found.stop()


# The name tests use. (A fixture named like the module it comes from would hide it above.)
@pytest.fixture(name="world")
def _world(running_world: world.World) -> Any:
    return running_world
