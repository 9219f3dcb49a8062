"""`scripts/up` on a machine: settings once, from any folder, and one sentence where something is missing."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT

TOOLS = ("sh", "cat", "cksum", "dirname", "sed")
COPIED = ("scripts", "requirements.txt", "requirements-dev.txt", ".env.example", "manage.py", "jobs", "jobsite")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The project's files, with nothing installed."""
    found = tmp_path / "a clone"
    found.mkdir()
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, found / name)
    return found


@pytest.fixture
def installed(clone: Path) -> Path:
    """As after the first run: `.venv` runs this very Python, and is stamped as up to date."""
    python = clone / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    wanted = (clone / "requirements.txt").read_bytes() * 2
    stamp = subprocess.run(["cksum"], input=wanted, capture_output=True, check=True).stdout
    (clone / ".venv" / "installed-requirements.txt").write_bytes(stamp)
    return clone


def run(clone: Path, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": path or os.environ["PATH"], "HOME": str(clone)}
    return subprocess.run(
        [clone / "scripts" / "up", *arguments], cwd="/", env=environment, capture_output=True, text=True, timeout=60
    )


def test_the_first_run_writes_settings_for_development(installed):
    done = run(installed, "--help")
    assert done.returncode == 0, done.stderr
    assert "--only" in done.stdout
    stated = dict(
        line.split("=", 1) for line in (installed / ".env").read_text().splitlines() if line and line[0] != "#"
    )
    assert (stated["DEBUG"], stated["JOBS_DEMO"]) == ("1", "1")
    assert len(stated["SECRET_KEY"]) >= 50
    assert stat.S_IMODE((installed / ".env").stat().st_mode) == 0o600


def test_later_runs_leave_the_settings_and_the_packages_alone(installed):
    run(installed, "--help")
    before = (installed / ".env").read_text()
    done = run(installed, "--help")
    assert (installed / ".env").read_text() == before
    assert done.stderr == ""


def bin_folder(tmp_path: Path, python: str | None) -> str:
    """A PATH with the usual tools and, where it is given, a Python of that behaviour."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        (folder / tool).symlink_to(str(shutil.which(tool)))
    if python is not None:
        (folder / "python3").write_text(f"#!/bin/sh\n{python}\n")
        (folder / "python3").chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("python", "words"),
    [
        (None, "Python 3.11 or newer is needed"),
        ("exit 1", "Python 3.11 or newer is needed"),  # too old, or a shim without a Python behind it
        ('case "$*" in *version_info*) exit 0 ;; *) exit 1 ;; esac', "apt install python3-venv"),
    ],
)
def test_what_is_missing_is_one_sentence(clone, tmp_path, python, words):
    done = run(clone, path=bin_folder(tmp_path, python))
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["up", "test", "environment.sh"])
def test_the_scripts_are_plain_shell(name):
    subprocess.run(["sh", "-n", ROOT / "scripts" / name], check=True)
