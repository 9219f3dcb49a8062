"""What the tests of the records share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobs import handler, registry

Register = Callable[..., str]


@pytest.fixture
def register() -> Iterator[Register]:
    """`register(function, **options)`: a type of the test's own, gone with it; its name."""
    names: list[str] = []

    def add(function: Callable[..., Any], **options: Any) -> str:
        name = f"test-own-{len(names)}"
        registry.unregister(name)
        handler(name, **options)(function)
        names.append(name)
        return name

    yield add
    for name in names:
        registry.unregister(name)
