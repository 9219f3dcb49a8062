"""Output that cannot be written: a command says so, and what it did; what has to go on goes on."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import jobs
from jobs.models import ApiKey, Job
from tests.support import http
from tests.support.eventually import eventually
from tests.support.processes import ROOT, free_port

pytestmark = pytest.mark.django_db(transaction=True)

LOST = {"full": ">/dev/full", "closed": ">&-", "pipe": "| true"}
GONE = {"closed": "<&- >&- 2>&-", "full": "</dev/null >/dev/full 2>/dev/full", "pipe": "2>&1 | true"}


def shell(world: Any, command: str, redirection: str, **environment: str) -> subprocess.Popen[str]:
    """`manage.py <command>` by a shell; the exit code is that of the command."""
    program = f"{shlex.quote(sys.executable)} {shlex.quote(str(ROOT / 'manage.py'))}"
    return subprocess.Popen(
        ["bash", "-c", f"{program} {command} {redirection}; exit ${{PIPESTATUS[0]}}"],
        env=world.environment(environment),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end_of(process: subprocess.Popen[str]) -> tuple[int, str]:
    said = process.communicate(timeout=100)[1]
    return process.returncode, said


@pytest.mark.parametrize("lost", LOST)
@pytest.mark.parametrize("form", ["", "--json"])
def test_a_key_that_nobody_has_seen_is_named_with_the_way_out(world: Any, lost: str, form: str) -> None:
    code, said = end_of(shell(world, f"apikey create shop {form}", LOST[lost]))
    key = ApiKey.objects.get(client="shop")
    assert code == 1
    assert "could not be written" in said
    assert f"manage.py apikey revoke {key.prefix}" in said
    assert "Traceback" not in said
    assert "jk_" not in said
    assert "Redis" not in said


def test_a_job_whose_creation_could_not_be_told_is_told_by_the_error(world: Any) -> None:
    code, said = end_of(shell(world, "enqueue_system_job echo --json", LOST["full"]))
    assert code == 1
    assert f"The job {Job.objects.get(type='echo').pk} was created." in said


@pytest.mark.parametrize(
    "command", ["apikey list", "queues list", "lifecycle", "prune --dry-run", "doctor", "doctor --json"]
)
def test_what_only_reads_ends_with_one_sentence(world: Any, command: str) -> None:
    code, said = end_of(shell(world, command, LOST["full"]))
    assert code == 1
    assert said.strip().splitlines() == ["CommandError: The output could not be written: No space left on device."]


def test_the_exit_code_is_right_where_nobody_takes_the_error(world: Any) -> None:
    assert end_of(shell(world, "enqueue_system_job no-such-type", "2>/dev/full"))[0] == 2
    assert end_of(shell(world, "enqueue_system_job no-such-type", "2>&-"))[0] == 2


def test_a_file_that_cannot_be_read_is_no_outage_of_redis(world: Any) -> None:
    done = world.ask("enqueue_system_job", "echo", "--payload", "@/nowhere")
    assert "Redis" not in done.stderr
    assert "/nowhere" in done.stderr


@pytest.mark.parametrize("gone", GONE)
def test_a_worker_and_its_handlers_go_on_without_streams(world: Any, gone: str) -> None:
    ids = [jobs.submit(name).id for name in ("test-chatty", "test-chatty-isolated", "test-chatty")]
    code, said = end_of(shell(world, "rqworker --burst", GONE[gone]))
    assert code == 0, said
    found = list(Job.objects.filter(pk__in=ids).values_list("status", "result__code", "attempt"))
    assert found == [("succeeded", 7, 1)] * 3


def standard_streams(pid: int) -> list[str]:
    return [os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)]


def processes_of(group: int) -> list[int]:
    """Of the session that `shell` has made, and of the sessions that those processes have made."""
    found = [group]
    for pid in found:
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            found += [int(child) for child in path.read_text().split()]
    return found[1:]


def is_live(port: int) -> bool:
    try:
        return http.call(f"http://127.0.0.1:{port}", "GET", "/health/live").status == 200
    except OSError:
        return False


@pytest.mark.parametrize("command", ["rqworker", "serve"])
def test_no_socket_and_no_file_takes_the_place_of_a_closed_stream(world: Any, command: str) -> None:
    port = free_port()
    command += f" --port {port}" if command == "serve" else ""
    with subprocess.Popen(
        ["bash", "-c", f"exec {shlex.quote(sys.executable)} manage.py {command} <&- >&- 2>&-"],
        env=world.environment(), cwd=ROOT, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            if command == "rqworker":
                job = jobs.submit("test-chatty-isolated")
                eventually(lambda: Job.objects.get(pk=job.id).status == "succeeded", timeout_s=60)
            else:
                eventually(lambda: is_live(port), timeout_s=60)
            for pid in [process.pid, *processes_of(process.pid)]:
                assert set(standard_streams(pid)) == {os.devnull}
            assert process.poll() is None
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(40) == 0
