"""Jobs that run too long, keep too much, or return what cannot be stored: the culprit pays, nobody else."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from jobs.models import Event, Job, Lease
from tests.real.watching import all_reached, budgets, echo, horse_pid, live_lease, reached, starts, story, submit
from tests.support.eventually import eventually
from tests.support.world import World

QUICK_HARD_LIMIT = {"JOBS_HARD_TIMEOUT_EXTRA_S": "1"}


def failed_by_timeout(job_id: object) -> bool:
    return Event.objects.filter(job_id=job_id, error_code="timeout").exists()


def test_a_soft_timeout_passes_through_except_exception(world: World) -> None:
    world.worker()
    horse = horse_pid()
    job_id = submit("test-polite", timeout_s=1)
    eventually(lambda: failed_by_timeout(job_id))
    assert Event.objects.filter(job_id=job_id).order_by("id")[2].event == "retry"
    assert horse_pid() == horse


@pytest.mark.parametrize(
    ("type_name", "payload"),
    [("test-nap", {"seconds": 60, "once": True}), ("test-regex", {"seconds": 3600}), ("test-stubborn", {})],
)
def test_a_hard_timeout_kills_the_process_and_charges_the_culprit_alone(world: World, type_name: str, payload: dict[str, object]) -> None:  # fmt: skip
    world.worker(**QUICK_HARD_LIMIT)
    others = [echo(sleepSeconds=5) for _ in range(3)]
    all_reached(others, "running")
    culprit = submit(type_name, timeout_s=1, **payload)
    eventually(lambda: failed_by_timeout(culprit), timeout_s=20)
    assert budgets(culprit)[1:] == (1, 0)
    assert "killed" in Event.objects.get(job_id=culprit, event="retry").error_text
    all_reached(others, "succeeded", timeout_s=30)
    for other in others:
        assert budgets(other)[1:] == (0, 0)
        assert story(other).count("release") == 1  # the culprit's next attempts run apart


def assert_only_it_paid(culprit: uuid.UUID, budget: str) -> None:
    """Of a horse of one thread, which had claimed many quick jobs as well."""
    eventually(lambda: not Job.objects.exclude(pk=culprit).exclude(status="succeeded").exists(), timeout_s=60)
    assert list(Job.objects.filter(**{f"{budget}__gt": 0}).values_list("pk", flat=True)) == [culprit]
    in_vain = Job.objects.exclude(pk=culprit).filter(attempt=1, version__gt=3)  # claimed, and never begun
    assert in_vain.count() > 10
    assert not Event.objects.filter(job_id__in=in_vain.values("pk")).exclude(event__in=("submit", "start", "succeed"))
    assert Event.objects.exclude(job_id=culprit).filter(event__in=("expire", "retry")).count() == 0


def test_a_horse_that_dies_charges_what_ran_and_not_what_it_had_claimed(world: World) -> None:
    for _ in range(1500):
        echo()
    culprit = echo(crashTimes=1)
    for _ in range(500):
        echo()
    world.worker("--concurrency", "1")
    reached(culprit, "succeeded", timeout_s=60)
    assert_only_it_paid(culprit, "crashes")


def test_a_job_past_its_hard_limit_pays_alone_among_those_that_were_claimed_with_it(world: World) -> None:
    for _ in range(1500):
        submit("echo", timeout_s=1)
    culprit = submit("test-regex", seconds=3600, timeout_s=1)
    for _ in range(500):
        submit("echo", timeout_s=1)
    world.worker("--concurrency", "1", **QUICK_HARD_LIMIT)
    eventually(lambda: failed_by_timeout(culprit), timeout_s=60)
    assert_only_it_paid(culprit, "failures")


def test_an_isolated_job_past_its_hard_limit_is_killed_alone(world: World) -> None:
    world.worker(**QUICK_HARD_LIMIT)
    horse = horse_pid()
    culprit = submit("test-isolated", seconds=60, timeout_s=1)
    eventually(lambda: failed_by_timeout(culprit), timeout_s=20)
    assert budgets(culprit)[1:] == (1, 0)
    assert horse_pid() == horse


def test_a_handler_that_holds_the_gil_keeps_its_lease_and_runs_once(world: World, tmp_path: Path) -> None:
    world.worker(JOBS_LEASE_S="3", JOBS_RENEW_S="1")  # shortened, so that the regex outlasts it
    world.worker(JOBS_LEASE_S="3", JOBS_RENEW_S="1")  # its housekeeper is the one that might go wrong
    ledger = tmp_path / "ledger"
    job_id = submit("test-regex", seconds=7, ledger=str(ledger))
    assert reached(job_id, "succeeded", timeout_s=60).result == 1
    assert ledger.read_text().split() == ["1"]
    assert Lease.objects.filter(revoked_at=None).count() == 2


def test_a_horse_is_replaced_after_so_many_jobs(world: World) -> None:
    world.worker(JOBS_HORSE_MAX_JOBS="3")
    horse = horse_pid()
    all_reached([echo() for _ in range(10)], "succeeded")
    eventually(lambda: horse_pid() != horse)
    assert Event.objects.filter(event__in=("release", "expire")).count() == 0


def test_a_horse_that_grew_too_large_is_replaced(world: World) -> None:
    world.worker(JOBS_HORSE_MAX_RSS_MB="250")
    first = reached(submit("test-memory", megabytes=200), "succeeded")
    eventually(lambda: horse_pid() != first.result)
    assert reached(echo(), "succeeded").crashes == 0


def test_a_result_that_cannot_be_stored_fails_that_job_alone(world: World) -> None:
    kinds = ["nan", "nul", "surrogate", "large", "deep", "integer", "object"]
    ids = {kind: (submit("test-result", kind="good"), submit("test-result", kind=kind)) for kind in kinds}
    world.worker("--burst")
    all_reached([good for good, _ in ids.values()], "succeeded")
    for kind, (good, bad) in ids.items():
        assert reached(bad, "failed").error_code == "unstorable", kind
        assert starts(good) == starts(bad) == 1


def test_an_error_is_kept_whatever_its_words(world: World) -> None:
    ids = [submit("test-error", kind=kind) for kind in ("nul", "surrogate", "large", "permanent")]
    world.worker("--burst")
    for job_id in ids:
        job = reached(job_id, "failed")
        assert job.error_code
        assert job.error_message
        assert "\0" not in job.error_message + job.error_code
        assert len(job.error_message) < 3000


def test_a_progress_that_is_not_a_number_is_kept_as_text(world: World) -> None:
    world.worker()
    horse = live_lease().id
    large = submit("test-progress", kind="large")
    odd = {kind: submit("test-progress", kind=kind) for kind in ("object", "text", "nan")}
    assert reached(large, "succeeded").progress["current"] == 2.0**70
    for kind, start in {"object": "current=<object object", "text": "current=half", "nan": "current=nan"}.items():
        progress = reached(odd[kind], "succeeded").progress
        assert progress["current"] == 0
        assert progress["message"].startswith(start)
    assert live_lease().id == horse
