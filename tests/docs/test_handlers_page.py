"""docs/handlers.md: its examples are registered and run as they stand; only the outside world is played here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import jobs
from jobs import registry
from jobs.models import Effect, Job
from tests.docs.pages import ROOT, blocks
from tests.handlers.attempts import attempt

pytestmark = pytest.mark.django_db(transaction=True)


class Carrier:
    countries = ("DE", "FR")
    busy = False

    def is_busy(self) -> bool:
        return self.busy

    def next_number(self, order: int) -> str:
        return f"parcel-{order}"


class Bank:
    """Takes the money; its answer may be lost on the way."""

    def __init__(self) -> None:
        self.charges: dict[str, str] = {}
        self.is_answer_lost = False
        self.is_away = False

    def charge(self, cents: int, reference: str) -> str:
        self.charges[reference] = f"receipt for {cents}"
        if self.is_answer_lost:
            raise ConnectionResetError("the answer was lost")
        return self.charges[reference]

    def answers(self) -> bool:
        return not self.is_away

    def find(self, reference: str) -> str | None:
        return self.charges.get(reference)


class Board:
    def __init__(self) -> None:
        self.posts: list[tuple[str, str]] = []
        self.is_answer_lost = False

    def draft(self, text: str) -> str | None:
        return text or None

    def post(self, message: str, key: str) -> None:
        self.posts.append((message, key))
        if self.is_answer_lost:
            raise TimeoutError("no answer")

    async def ask(self, question: str) -> str:
        return f"{question} Yes."


class Ledger:
    def __init__(self) -> None:
        self.rows: list[Any] = []

    def close(self, order: int) -> int:
        return order

    def upsert(self, row: Any) -> None:
        self.rows.append(row)


@pytest.fixture
def page() -> Iterator[dict[str, Any]]:
    """The page's code, run in its order, beside a world to act on."""
    before = {job_type.name for job_type in registry.all_types()}
    names: dict[str, Any] = {
        "__name__": "docs_handlers", "carrier": Carrier(), "bank": Bank(), "board": Board(), "ledger": Ledger(),
    }  # fmt: skip
    for block in blocks(ROOT / "docs" / "handlers.md", "python"):
        exec(compile(block.code, "docs/handlers.md", "exec"), names)
    yield names
    for job_type in registry.all_types():
        if job_type.name not in before:
            registry.unregister(job_type.name)


def run(type: str, payload: dict[str, Any], times: int = 1) -> Job:
    job_id = jobs.submit(type, payload).id
    for _ in range(times):
        job = attempt(job_id)
    return job


def test_an_attempt_ends_as_the_page_says(page):
    assert run("print-label", {"order": 7, "country": "DE"}).result == {"number": "parcel-7"}
    refused = run("print-label", {"order": 7, "country": "XX"})
    assert (refused.status, refused.error_code) == ("failed", "no-carrier")
    page["carrier"].busy = True
    later = run("print-label", {"order": 7, "country": "DE"})
    assert (later.status, later.failures, later.error_code) == ("scheduled", 1, "retry")


def test_an_effect_is_done_once_and_its_result_kept(page):
    job = run("charge-card", {"cents": 500})
    assert (job.status, job.result) == ("succeeded", {"receipt": "receipt for 500"})
    assert list(page["bank"].charges) == [f"{job.id}.charge"]


def test_a_probe_finds_what_a_lost_answer_left_open(page):
    page["bank"].is_answer_lost = True
    job = run("charge-card", {"cents": 500})
    assert job.status == "scheduled"
    assert Effect.objects.get(job=job).status == "in_doubt"
    job = attempt(job.id)
    assert (job.status, job.result) == ("succeeded", {"receipt": "receipt for 500"})
    assert len(page["bank"].charges) == 1


def test_a_probe_that_does_not_know_leaves_it_to_a_person(page):
    page["bank"].is_answer_lost = page["bank"].is_away = True
    assert run("charge-card", {"cents": 500}, times=2).status == "in_doubt"


def test_repeat_repeats_under_the_same_key(page):
    page["board"].is_answer_lost = True
    job = run("announce", {"text": "open"}, times=2)
    assert page["board"].posts == [("open", f"{job.id}.post")] * 2


def test_a_block_left_after_not_done_is_no_doubt(page):
    job = run("announce", {"text": ""})
    assert (job.status, Effect.objects.get(job=job).status) == ("scheduled", "not_done")


def test_a_transactional_effect_commits_its_rows_with_it(page):
    job = run("close-order", {"order": 3})
    assert (job.status, job.result) == ("succeeded", {"order": 3})
    assert Job.objects.filter(type="print-label", key="label-3").count() == 1


def test_the_log_tells_when_an_effect_is_reserved_executed_and_not_run_again(page, caplog):
    caplog.set_level("INFO", "jobs.effects")
    page["bank"].is_answer_lost = True
    run("charge-card", {"cents": 500}, times=2)
    run("close-order", {"order": 4})
    said = [record.getMessage().partition(" effect ")[2] for record in caplog.records if record.name == "jobs.effects"]
    assert said == [
        "charge: reserved", "charge: in doubt", "charge: taken as done, by probe", "close: reserved", "close: executed",
    ]  # fmt: skip


def test_long_work_tells_how_far_it_is(page):
    job = run("import-rows", {"rows": ["a", "b"]})
    assert (job.status, job.result, job.progress["message"]) == ("succeeded", {"rows": 2}, "row 2")
    assert page["ledger"].rows == ["a", "b"]


def test_isolated_and_async_handlers_are_registered_and_run(page, monkeypatch):
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")  # as every worker does: jobs/process.py
    assert registry.get("render").is_isolated
    assert run("render", {"text": "a"}).result == "A"
    assert run("poll", {"question": "Well?"}).result == "Well? Yes."
