"""Real processes: every test here also ends with the laws that hold whatever happened."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.real.watching import assert_lawful
from tests.support.world import World


@pytest.fixture(autouse=True)
def lawful(request: pytest.FixtureRequest) -> Iterator[None]:
    """Once the test is over; what the processes said is shown where something failed."""
    if "world" not in request.fixturenames:
        yield
        return
    world: World = request.getfixturevalue("world")
    yield
    for process in world.processes:
        request.node.add_report_section("teardown", " ".join(process.arguments), process.log[-6000:])
    assert_lawful(world)
