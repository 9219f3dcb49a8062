"""A process and its descendants, as the measures of idle and killed workers see them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from benchmarks.family import family, kill, memory_mb, processor_s
from tests.support.eventually import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

BUSY = "while True: pass"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BUSY!r}], start_new_session=True)"


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", PARENT])
    yield process
    kill(family(process.pid))
    process.wait()


def test_children_count_in_whatever_session_they_are(parent: subprocess.Popen[bytes]) -> None:
    assert eventually(lambda: len(family(parent.pid)) == 2)
    pids = family(parent.pid)
    assert pids[0] == parent.pid
    assert memory_mb(pids) > memory_mb(pids[:1]) > 0
    assert eventually(lambda: processor_s(pids) - processor_s(pids[:1]) > 0.1)


def test_all_of_it_is_killed(parent: subprocess.Popen[bytes]) -> None:
    assert eventually(lambda: len(family(parent.pid)) == 2)
    _, child = family(parent.pid)
    kill([parent.pid, child])
    parent.wait()
    assert eventually(lambda: processor_s([child]) == 0)
