"""Fault runs come last: what is wrong in small is to be heard of first."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import certificates as private_ca


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name == "test_fault_run.py")


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return private_ca.make(tmp_path_factory.mktemp("tls"))
