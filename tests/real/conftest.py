"""Real processes: every test here also ends with the laws that hold whatever happened."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.real.watching import assert_lawful
from tests.support.world import World


@pytest.fixture(autouse=True)
def lawful(world: World) -> Iterator[None]:
    yield
    assert_lawful(world)


@pytest.fixture(autouse=True)
def logs_on_failure(request: pytest.FixtureRequest, world: World) -> Iterator[None]:
    """What the processes said, where a test failed."""
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed:
        for process in world.processes:
            request.node.add_report_section("teardown", " ".join(process.arguments), process.log[-6000:])
