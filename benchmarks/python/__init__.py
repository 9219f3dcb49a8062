"""The programs of the peers in Python, which run in an environment outside the source, as the pins have it."""

from __future__ import annotations

import os
import shutil
import sys
from functools import cache
from pathlib import Path

from benchmarks.services import output

HERE = Path(__file__).resolve().parent
PINS = HERE.parent / "requirements.txt"
INSTALL_TIMEOUT_S = 600


def command(program: str, *arguments: str) -> list[str]:
    """A program of that environment: `python`, or a command that a package brings."""
    return [str(environment() / "bin" / program), *arguments]


@cache
def environment() -> Path:
    folder = Path(os.environ.get("JOBS_DATA_DIR", HERE.parent.parent / "var")) / "benchmarks" / "python"
    stamp = folder / "installed.txt"
    if not stamp.exists() or stamp.read_text() != PINS.read_text():
        shutil.rmtree(folder, ignore_errors=True)
        for step in _steps(folder):
            output(step, os.environ, INSTALL_TIMEOUT_S)  # all of it: the way to a package index may be in there
        shutil.copy(PINS, stamp)
    return folder


def _steps(folder: Path) -> list[list[str]]:
    python = str(folder / "bin" / "python")
    if shutil.which("uv"):
        return [
            ["uv", "venv", "--quiet", "--python", sys.executable, str(folder)],
            ["uv", "pip", "install", "--quiet", "--python", python, "-r", str(PINS)],
        ]
    return [
        [sys.executable, "-m", "venv", str(folder)],
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(PINS)],
    ]
