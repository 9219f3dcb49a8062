"""A group of processes that gets so much memory and no more: the kernel ends what takes more (cgroups)."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")

_OLD = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
_NEW = ("memory.max", "memory.swap.max")


class Group:
    """Version 1 or 2, as this machine has it."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self._folder = folder
        is_old = (folder / "memory.limit_in_bytes").exists()
        limit, with_swap = _OLD if is_old else _NEW
        (folder / limit).write_text(str(megabytes * 2**20))
        if (folder / with_swap).exists():  # what is written there leaves nothing to swap
            (folder / with_swap).write_text(str(megabytes * 2**20) if is_old else "0")
        self._events = folder / ("memory.oom_control" if is_old else "memory.events")

    def take(self, pid: int) -> None:
        """The process and whatever it starts from now on."""
        (self._folder / "cgroup.procs").write_text(str(pid))

    def kills(self) -> int:
        """How many processes the kernel has ended here."""
        lines = dict(line.split() for line in self._events.read_text().splitlines())
        return int(lines["oom_kill"])


@contextlib.contextmanager
def group(megabytes: int) -> Iterator[Group | None]:
    """None where this process may not make one. Its processes must be gone when the block ends."""
    folder = _parent() / f"jobs-test-{os.getpid()}"
    try:
        folder.mkdir()
        made: Group | None = Group(folder, megabytes)
    except OSError:
        made = None
    try:
        yield made
    finally:
        for _ in range(100):
            with contextlib.suppress(OSError):  # until the kernel has counted out who was killed
                if folder.exists():
                    folder.rmdir()
                break
            time.sleep(0.05)


def _parent() -> Path:
    return ROOT / "memory" if (ROOT / "memory").is_dir() else ROOT
