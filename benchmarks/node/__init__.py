"""The programs in JavaScript, with their packages in a folder outside the source, as the lock file pins them."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from benchmarks.services import NotMeasured

HERE = Path(__file__).resolve().parent
INSTALL_TIMEOUT_S = 300


def command(program: str) -> list[str]:
    return ["node", str(folder() / program)]


@cache
def folder() -> Path:
    """Programs and packages side by side, because Node looks for packages beside the program."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise NotMeasured("needs Node.js with npm on the PATH")
    target = Path(os.environ.get("JOBS_DATA_DIR", HERE.parent.parent / "var")) / "benchmarks" / "node"
    target.mkdir(parents=True, exist_ok=True)
    lock = target / "package-lock.json"
    wanted = (HERE / "package-lock.json").read_bytes()
    is_installed = (target / "node_modules" / ".package-lock.json").exists() and lock.read_bytes() == wanted
    for source in (*HERE.glob("*.mjs"), *HERE.glob("*.json")):
        shutil.copy(source, target)
    if not is_installed:
        _install(target)
    return target


def _install(target: Path) -> None:
    done = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
        cwd=target,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=INSTALL_TIMEOUT_S,
    )
    if done.returncode != 0:
        raise NotMeasured(f"npm could not install the packages: {done.stderr.strip()[-300:]}")
