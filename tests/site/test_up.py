"""`up`: the whole system from one command, on a data dir of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.process import state as process_state
from jobsite import broker
from tests.support import http
from tests.support.eventually import eventually
from tests.support.processes import Process, free_port


class Site:
    """One `up`, as a user starts it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.processes: list[Process] = []

    def up(self, *arguments: str) -> Process:
        bare = {
            name: value for name, value in os.environ.items() if not name.startswith(("JOBS_", "DATABASE_", "REDIS_"))
        }
        bare.pop("DJANGO_SETTINGS_MODULE", None)
        stated = {"ENV_FILE": os.devnull, "DEBUG": "1", "JOBS_DATA_DIR": str(self.data_dir)}
        log = self.data_dir.with_suffix(f".{len(self.processes)}.log")
        process = Process(["up", "--port", str(self.port), "--no-reload", *arguments], {**bare, **stated}, log)
        self.processes.append(process)
        return process

    def call(self, method: str, path: str, body: object = None) -> http.Reply:
        return http.call(self.url, method, path, body, key=(self.data_dir / "dev-api-key").read_text().strip())

    def status(self, job_id: str) -> str:
        return str(self.call("GET", f"/api/jobs/{job_id}/status").json()["status"])


@pytest.fixture
def site() -> Iterator[Site]:
    folder = Path(tempfile.mkdtemp(prefix="jobs-up-", dir="/tmp"))
    found = Site(folder / "Ada's data")
    yield found
    for process in found.processes:
        process.destroy()
    broker.stop(found.data_dir)
    shutil.rmtree(folder)


def test_from_nothing_to_a_mail_in_the_outbox(site):
    process = site.up()
    process.says("ready: api, worker, scheduler", timeout_s=40)
    body = {
        "type": "welcome-email",
        "payload": {"email": "ada@example.com", "name": "Ada", "message": "Hello!"},
        "idempotencyKey": "welcome-ada",
    }
    printed = process.log.partition("a first job:\n")[2].splitlines()[:4]
    command = "\n".join(line.partition("| ")[2] for line in printed)
    said = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert "HTTP/1.1 202" in said.stdout, (command, said)
    job_id = json.loads(said.stdout.splitlines()[-1])["id"]
    eventually(lambda: site.status(job_id) == "succeeded", timeout_s=15)
    assert len(list((site.data_dir / "outbox").glob("*.eml"))) == 1

    again = site.call("POST", "/api/jobs", body)
    assert (again.status, again.json()["id"]) == (200, job_id)

    assert process.stop() == 0
    assert not broker.is_running(site.data_dir)
    for name in ("dev-api-key", "admin-password", "jobs.sqlite3"):
        assert stat.S_IMODE((site.data_dir / name).stat().st_mode) == 0o600, name


def test_a_second_start_keeps_login_key_and_data(site):
    first = site.up("--only", "api")
    first.says("ready: api", timeout_s=40)
    before = [(site.data_dir / name).read_text() for name in ("dev-api-key", "admin-password")]
    job_id = site.call("POST", "/api/jobs", {"type": "health-check"}).json()["id"]
    assert first.stop() == 0

    site.up("--only", "api").says("ready: api", timeout_s=40)
    assert [(site.data_dir / name).read_text() for name in ("dev-api-key", "admin-password")] == before
    assert site.status(job_id) == "queued"


def test_a_child_that_is_killed_starts_again(site):
    process = site.up("--only", "api")
    process.says("ready: api", timeout_s=40)
    (child,) = process.children()
    os.kill(child, signal.SIGKILL)
    process.says("ended (killed by SIGKILL)")
    eventually(lambda: process.children() not in ([], [child]))
    eventually(lambda: process.log.count("Serving on") == 2, timeout_s=15)


def test_children_do_not_outlive_a_killed_up(site):
    process = site.up("--only", "api,scheduler")
    process.says("ready: api, scheduler", timeout_s=40)
    children = process.children()
    assert len(children) == 2
    process.kill()
    eventually(lambda: {process_state(pid) for pid in children} <= {"", "Z"}, timeout_s=15)


def test_two_that_are_started_at_once_on_nothing_both_become_ready(site):
    first = site.up("--only", "api")
    site.port = free_port()
    second = site.up("--only", "api")
    for process in (first, second):
        process.says("ready: api", timeout_s=40)


def test_a_broker_that_ran_before_runs_after(site):
    broker.start(site.data_dir)
    process = site.up("--only", "api")
    process.says("ready: api", timeout_s=40)
    process.stop()
    assert broker.is_running(site.data_dir)


def test_a_broker_that_a_killed_one_left_goes_with_the_next(site):
    process = site.up("--only", "scheduler")
    process.says("ready: scheduler", timeout_s=40)
    process.kill()
    assert broker.is_running(site.data_dir)
    process = site.up("--only", "scheduler")
    process.says("ready: scheduler", timeout_s=40)
    assert process.stop() == 0
    assert not broker.is_running(site.data_dir)


def test_a_password_that_is_not_known_is_not_shown(site):
    first = site.up("--only", "api")
    first.says("ready: api", timeout_s=40)
    first.stop()
    (site.data_dir / "admin-password").unlink()
    second = site.up("--only", "api")
    second.says("user admin, with the password it has already", timeout_s=40)
    assert not (site.data_dir / "admin-password").exists()


@pytest.mark.parametrize(("arguments", "words"), [(["--only", "web"], "--only"), (["--workers", "0"], "--workers")])
def test_a_wrong_option_is_one_sentence(site, arguments, words):
    process = site.up(*arguments)
    assert process.wait() != 0
    assert words in process.log
    assert "Traceback" not in process.log


def test_without_the_demo_there_is_no_echo(site):
    site.up("--only", "api", "--no-demo").says("ready: api", timeout_s=40)
    reply = site.call("POST", "/api/jobs", {"type": "echo"})
    assert (reply.status, reply.json()["code"]) == (422, "unknown-type")
