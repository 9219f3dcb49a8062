"""why, effects, prune, reconcile and lifecycle."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

import jobs
from jobs import lifecycle
from jobs.models import Effect, Event, Job
from tests.commands.terminal import manage

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).resolve().parent.parent.parent


def job_in_doubt() -> Job:
    job = Job.objects.get(pk=jobs.submit("echo", {"effect": "charge"}).id)
    Job.objects.update(status="in_doubt", has_effects=True, attempt=1)
    Effect.objects.create(job=job, name="charge", status="in_doubt", attempt=1, ended_at=dt.datetime.now(dt.UTC))
    return job


def test_why_says_it_in_a_sentence_and_the_next_step() -> None:
    job_id = jobs.submit("echo").id
    ran = manage("why", str(job_id))
    assert "No worker serves the queue default." in ran.out
    document = manage("why", str(job_id), "--json").json
    assert (document["id"], document["status"], document["waiting"]["code"]) == (str(job_id), "queued", "no-worker")


@pytest.mark.parametrize("arguments", [["why", "nonsense"], ["why", "00000000-0000-7000-8000-000000000000"]])
def test_an_unknown_job_is_said_to_be_unknown(arguments: list[str]) -> None:
    ran = manage(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert "there is no job" in ran.error


def test_effects_in_doubt_are_listed() -> None:
    assert manage("effects", "list").out.strip() == "No effect is in doubt."
    job = job_in_doubt()
    assert str(job.id) in manage("effects", "list").out
    (item,) = manage("effects", "list", "--json").json["items"]
    assert (item["job"], item["name"], item["key"]) == (str(job.id), "charge", f"{job.id}.charge")


def test_settling_records_the_verdict_and_lets_the_job_go_on() -> None:
    job = job_in_doubt()
    ran = manage(
        "effects", "settle", str(job.id), "charge", "--done", "--result", '{"id": 7}', "--evidence", "saw it",
        "--by", "alice", "--json",
    )  # fmt: skip
    assert ran.json == {"id": str(job.id), "effect": "charge", "event": "settle", "status": "queued"}
    effect = Effect.objects.get()
    assert (effect.status, effect.result, effect.evidence, effect.settled_by) == ("done", {"id": 7}, "saw it", "alice")
    assert Event.objects.get(event="settle").who == "alice"


@pytest.mark.parametrize(
    ("name", "arguments", "part"),
    [
        ("other", ["--done", "--evidence", "x"], "not in doubt"),
        ("charge", ["--done", "--evidence", " "], "must not be empty"),
        ("charge", ["--not-done", "--result", "1", "--evidence", "x"], "goes with --done"),
    ],
)
def test_a_settlement_that_makes_no_sense_changes_nothing(name: str, arguments: list[str], part: str) -> None:
    job = job_in_doubt()
    ran = manage("effects", "settle", str(job.id), name, *arguments)
    assert ran.code == 2
    assert part in ran.error
    assert Effect.objects.get().status == "in_doubt"


def test_prune_says_what_it_deleted_or_would_delete() -> None:
    jobs.submit("echo")
    long_ago = dt.datetime.now(dt.UTC) - dt.timedelta(days=1000)
    Job.objects.update(status="succeeded", finished_at=long_ago)
    assert manage("prune", "--dry-run", "--json").json == {"jobs": 1, "keys": 0, "stats": 0, "leases": 0, "drops": 0}
    assert manage("prune").out.startswith("deleted 1 jobs")
    assert not Job.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_reconcile_reports_what_it_did() -> None:
    jobs.submit("echo", delay_s=1000)
    Job.objects.update(run_after=dt.datetime.now(dt.UTC))
    report = manage("reconcile", "--json").json
    assert report["promoted"] == 1
    assert Job.objects.get().status == "queued"


def test_the_page_about_the_lifecycle_is_what_the_table_says() -> None:
    assert (ROOT / "docs/lifecycle.md").read_text() == manage("lifecycle").out
    assert manage("lifecycle", "--check").code == 0


def test_the_lifecycle_is_printed_whole() -> None:
    document = manage("lifecycle", "--json").json
    assert [row["event"] for row in document["transitions"]] == list(lifecycle.TRANSITIONS)
    assert [row["status"] for row in document["statuses"]] == list(lifecycle.Status)
