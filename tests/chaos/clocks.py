"""A wall clock that is wrong, for the processes that are started with it, and may be set while they run."""

from __future__ import annotations

import atexit
import os
import shutil
import struct
import subprocess
import tempfile
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("wrong_clock.c")


@cache
def _library() -> Path:
    """Built once; in a folder that another user, PostgreSQL's, may read."""
    folder = Path(tempfile.mkdtemp(prefix="jobs-clock-", dir="/tmp"))
    folder.chmod(0o755)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "wrong_clock.so", SOURCE, "-ldl"], check=True)
    return folder / "wrong_clock.so"


class WrongClock:
    def __init__(self, name: str) -> None:
        self._path = _library().with_name(f"{name}-{os.getpid()}")
        self._path.write_bytes(struct.pack("l", 0))
        self._path.chmod(0o644)
        self.environment = {"LD_PRELOAD": str(_library()), "WRONG_CLOCK": str(self._path)}

    def set(self, offset_s: int) -> None:
        """From now on it is wrong by so much, in all processes that have it, in one moment."""
        file = os.open(self._path, os.O_WRONLY)
        os.pwrite(file, struct.pack("l", offset_s), 0)
        os.close(file)
