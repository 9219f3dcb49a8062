"""The system producer: exit codes, output, and the same rules as the API."""

from __future__ import annotations

import datetime as dt
import io
import json
import threading
from pathlib import Path

import pytest
from django.db import connection

from jobs.models import IdempotencyKey, Job
from tests.commands.terminal import Ran, manage
from tests.handlers.attempts import attempt
from tests.support.eventually import eventually
from tests.support.world import World

pytestmark = pytest.mark.django_db


def enqueue(*arguments: str) -> Ran:
    return manage("enqueue_system_job", *arguments)


def test_without_a_type_it_is_maintenance_once_for_the_utc_hour() -> None:
    first, second = enqueue("--json"), enqueue("--json")
    assert (first.code, second.code) == (0, 0)
    assert first.json["id"] == second.json["id"]
    hour = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H")
    assert Job.objects.get().key == f"maintenance:{hour}"
    assert (Job.objects.get().client, Job.objects.get().source) == ("system", "command")


def test_it_says_whether_the_job_is_new() -> None:
    assert enqueue("echo", "--key", "k").out.startswith("created echo ")
    assert enqueue("echo", "--key", "k").out.startswith("replayed echo ")


def test_json_is_the_status_document() -> None:
    document = enqueue("echo", "--payload", '{"value": 1}', "--queue", "low", "--json").json
    assert (document["type"], document["status"], document["queue"]) == ("echo", "queued", "low")
    assert document["links"]["status"] == f"/api/jobs/{document['id']}/status"


def test_a_payload_may_come_from_a_file_or_from_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "payload.json"
    file.write_text('{"value": "from a file"}')
    assert enqueue("echo", "--payload", f"@{file}").code == 0
    monkeypatch.setattr("sys.stdin", io.StringIO('{"value": "from stdin"}'))
    assert enqueue("echo", "--payload", "-").code == 0
    values = sorted(job.payload["value"] for job in Job.objects.all())
    assert values == ["from a file", "from stdin"]


def test_another_request_under_the_same_key_ends_with_3() -> None:
    enqueue("echo", "--key", "k", "--payload", '{"value": 1}')
    ran = enqueue("echo", "--key", "k", "--payload", '{"value": 2}')
    assert ran.code == 3
    assert "/payload/value" in ran.error
    assert Job.objects.count() == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["nobody"],
        ["echo", "--payload", '{"vaule": 1}'],
        ["echo", "--payload", "{"],
        ["echo", "--payload", "[1]"],
        ["echo", "--payload", '{"value": NaN}'],
        ["echo", "--payload", '{"value": 1e999}'],
        ["echo", "--payload", '{"value": 1, "value": 2}'],
        ["echo", "--payload", '{"value": "\\u0000"}'],
        ["echo", "--payload", "[" * 5000],
        ["echo", "--payload", "@/nowhere/at-all"],
        ["echo", "--queue", "nowhere"],
        ["echo", "--key", "schön"],
        ["echo", "--key", ""],
        ["echo", "--delay=-1"],
        ["echo", "--delay", "nan"],
        ["echo", "--at", "tomorrow"],
        ["echo", "--wait=-1"],
        ["Echo!"],
    ],
)
def test_what_is_invalid_ends_with_2_says_why_and_stores_nothing(arguments: list[str]) -> None:
    ran = enqueue(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.error
    assert not Job.objects.exists()
    assert not IdempotencyKey.objects.exists()


def test_a_job_may_be_delayed() -> None:
    assert enqueue("echo", "--delay", "60", "--json").json["status"] == "scheduled"
    assert enqueue("echo", "--at", "2031-01-01T00:00:00+02:00", "--json").json["runAfter"] == "2030-12-31T22:00:00.000Z"


def test_a_dry_run_checks_everything_and_stores_nothing() -> None:
    assert enqueue("echo", "--key", "k", "--dry-run").code == 0
    assert enqueue("echo", "--payload", '{"vaule": 1}', "--dry-run").code == 2
    assert not Job.objects.exists()
    enqueue("echo", "--key", "k")
    assert enqueue("echo", "--key", "k", "--dry-run", "--json").json["replayOf"] == str(Job.objects.get().id)
    assert enqueue("echo", "--key", "k", "--payload", '{"value": 1}', "--dry-run").code == 3
    assert IdempotencyKey.objects.get().replays == 0


def test_waiting_too_long_ends_with_5_and_still_prints_the_job() -> None:
    ran = enqueue("echo", "--wait", "0.2", "--json")
    assert ran.code == 5
    assert ran.json["status"] == "queued"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("payload", "code", "status"), [("{}", 0, "succeeded"), ('{"permanent": true}', 4, "failed")])
def test_waiting_ends_with_the_job(payload: str, code: int, status: str) -> None:
    def work() -> None:
        job = eventually(Job.objects.first, timeout_s=10)
        assert job is not None
        attempt(job.id)
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    ran = enqueue("echo", "--payload", payload, "--wait", "20", "--json")
    thread.join()
    assert (ran.code, ran.json["status"]) == (code, status)


def test_the_exit_code_is_the_process_s_own(world: World) -> None:
    ran = world.ask("enqueue_system_job", "echo", "--key", "k", "--json")
    assert ran.returncode == 0
    assert json.loads(ran.stdout)["status"] == "queued"
    code, log = world.run("enqueue_system_job", "echo", "--key", "k", "--payload", '{"value": 1}')
    assert code == 3
    assert log.startswith("CommandError: this idempotency key was first used at")


def test_it_is_accepted_while_redis_is_away(world: World) -> None:
    world.kill_broker()
    code, log = world.run("enqueue_system_job", "echo", "--key", "k")
    assert code == 0, log
    assert Job.objects.get().status == "queued"


def test_a_database_that_is_not_set_up_is_said_in_a_sentence(world: World, tmp_path: Path) -> None:
    code, log = world.run("enqueue_system_job", "echo", DATABASE_URL=f"sqlite:///{tmp_path / 'empty.sqlite3'}")
    assert code == 1
    assert log.endswith("CommandError: The database has not been set up: run `python manage.py migrate`.\n")
    assert "Traceback" not in log


def test_a_database_that_is_away_is_said_in_a_sentence(world: World) -> None:
    code, log = world.run("enqueue_system_job", "echo", DATABASE_URL="postgres://nobody@127.0.0.1:1/none")
    assert code == 1
    assert "Traceback" not in log
    assert "CommandError: The database does not answer: connection" in log
