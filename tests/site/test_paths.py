"""Folders with names that a URL or a shell would read otherwise: everything works in them, and stays private."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobsite import broker
from tests.support.eventually import eventually
from tests.support.processes import ROOT

NAMES = ["a#b?c=d%20e%", "two words ä:ö@ü", "it's $HOME;&|*", "long-" + "n" * 150]


@pytest.fixture(params=NAMES)
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A data dir of such a name, reached by a link of such a name."""
    home = Path(tempfile.mkdtemp(prefix="jobs-paths-", dir="/tmp"))
    real = home / f"real {request.param}"
    real.mkdir(mode=0o700)
    link = home / request.param
    link.symlink_to(real)
    yield link / "data"
    broker.stop(link / "data")
    shutil.rmtree(home)


def run(folder: Path, *arguments: str, project: Path = ROOT, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "ENV_FILE": os.devnull,
        "DEBUG": "1",
        "JOBS_DATA_DIR": str(folder),
        **more,
    }
    command = [sys.executable, str(project / "manage.py"), *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=200, umask=0, cwd=project, check=False
    )


def modes(folder: Path) -> dict[str, int]:
    """Of all that is not the owner's alone."""
    found = {str(path): stat.S_IMODE(path.lstat().st_mode) for path in [folder, *folder.rglob("*")]}
    return {path: mode for path, mode in found.items() if mode & 0o077}


@pytest.mark.timeout(400)  # five commands, each a process
def test_all_that_the_system_writes_is_in_the_folder_and_private(folder: Path) -> None:
    mail = '{"email": "ada@example.com", "name": "Ada", "message": "Hello!"}'
    for arguments in (
        ["broker", "start"],
        ["migrate", "--verbosity=0"],
        ["enqueue_system_job", "welcome-email", "--payload", mail],
        ["rqworker", "--burst"],
        ["doctor"],
    ):
        done = run(folder, *arguments)
        assert done.returncode == 0 or arguments == ["doctor"], (arguments, done.stdout, done.stderr)
        assert "Traceback" not in done.stdout + done.stderr
        assert arguments != ["doctor"] or "ok   broker" in done.stdout
    assert broker.is_running(folder)
    assert len(list((folder / "outbox").glob("*.eml"))) == 1
    with sqlite3.connect(folder / "jobs.sqlite3") as connection:
        assert connection.execute("SELECT status FROM jobs_job").fetchall() == [("succeeded",)]
    connection.close()
    assert modes(folder) == {}
    beside = {path.name for path in folder.parent.resolve().parent.iterdir()}
    assert beside == {folder.parent.name, folder.parent.resolve().name}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["a#b?c=d 50%25"])
def test_a_checkout_may_lie_anywhere(name: str) -> None:
    """With everything by its default: `var` in the checkout's own folder."""
    home = Path(tempfile.mkdtemp(prefix="jobs-paths-", dir="/tmp"))
    project = home / name
    project.mkdir()
    for part in ("jobs", "jobsite", "manage.py"):
        (project / part).symlink_to(ROOT / part) if part == "manage.py" else shutil.copytree(
            ROOT / part, project / part, ignore=shutil.ignore_patterns("__pycache__")
        )
    (project / "manage.py").unlink()
    shutil.copy(ROOT / "manage.py", project / "manage.py")
    environment = {"PATH": os.environ["PATH"], "ENV_FILE": os.devnull, "DEBUG": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    log = home / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "up", "--port", "0", "--no-reload"],
            env=environment, cwd=project, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        eventually(lambda: "ready: api" in log.read_text(), timeout_s=150)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()
        assert (project / "var" / "jobs.sqlite3").stat().st_mode & 0o077 == 0
        assert {path.name for path in home.iterdir()} == {name, "log"}
    finally:
        process.kill()
        broker.stop(project / "var")
        shutil.rmtree(home)


def test_a_database_that_is_named_by_its_url_is_private_as_well(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new/my%23jobs.sqlite3"
    done = run(tmp_path / "data", "migrate", "--verbosity=0", DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    found = list((tmp_path / "new").iterdir())
    assert tmp_path / "new" / "my#jobs.sqlite3" in found
    assert [path for path in found if path.stat().st_mode & 0o077] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JOBS_DATA_DIR", "/tmp/line\nbreak"),
        ("JOBS_DATA_DIR", "/tmp/" + "n" * 5000),
        ("JOBS_DATA_DIR", "/dev/null/x"),
        ("JOBS_DATA_DIR", "~no-such-user-here/x"),
        ("DATABASE_URL", "sqlite:////tmp/a#b.sqlite3"),
        ("DATABASE_URL", "sqlite:////tmp/a?b.sqlite3"),
        ("DATABASE_URL", "sqlite:////proc/nowhere/x.sqlite3"),
        ("DATABASE_URL", "sqlite://:memory:"),
        ("DATABASE_URL", "sqlite://"),
        ("DATABASE_URL", "sqlite:////tmp/line\nbreak"),
        ("EMAIL_URL", "file:///tmp/a#b"),
        ("EMAIL_URL", "file://relative/x"),
        ("REDIS_URL", "unix:///tmp/a#b.sock"),
        ("REDIS_URL", "unix://relative/a.sock"),
        ("REDIS_URL", "redis://host/name"),
    ],
)
def test_what_cannot_be_a_path_is_one_sentence(tmp_path: Path, name: str, value: str) -> None:
    done = run(tmp_path / "data", "check", **{name: value})
    assert done.returncode == 1
    assert name in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "postgres://u:hunter#2@h/n"),
        ("DATABASE_URL", "postgres://u:hunter/2@h/n"),
        ("DATABASE_URL", "postgres://u:hunter?2@h/n"),
        ("DATABASE_URL", "postgres://u:[hunter@h/n"),
        ("REDIS_URL", "redis://:hunter#2@h/0"),
        ("REDIS_URL", "redis://:hunter/2@h/0"),
        ("REDIS_URL", "redis://:hunter?2@h/0"),
        ("EMAIL_URL", "smtp://u:hunter#2@h"),
        ("EMAIL_URL", "smtp://u:hunter/2@h"),
        ("EMAIL_URL", "smtp://u:[hunter@h"),
    ],
)
def test_no_part_of_a_password_is_in_the_error(tmp_path: Path, name: str, value: str) -> None:
    done = run(tmp_path / "data", "check", **{name: value})
    assert done.returncode == 1
    assert "%23" in done.stderr
    assert "hunter" not in done.stderr
