"""What a job's life looks like under a real worker, when nothing goes wrong but the job itself."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path

from django.db import transaction

import jobs
from jobs import mirror, operate
from jobs.lifecycle import Actor
from jobs.models import Effect, Event, Job, LogLine
from tests.real.watching import all_reached, budgets, echo, live_lease, reached, story, submit
from tests.support.eventually import eventually
from tests.support.world import World


def test_a_job_runs_once_and_keeps_its_result(world: World) -> None:
    world.worker()
    job = reached(echo(value={"a": [1, "ü"]}), "succeeded")
    assert job.result == {"value": {"a": [1, "ü"]}, "attempt": 1}
    assert story(job.id) == ["submit", "start", "succeed"]


def test_two_failures_show_two_backoffs_and_the_third_attempt_succeeds_without_a_scheduler(world: World) -> None:
    world.worker()
    job = reached(echo(failTimes=2), "succeeded")
    assert budgets(job.id) == (3, 2, 0)
    retries = Event.objects.filter(job=job, event="retry").order_by("id")
    assert len(retries) == 2
    starts = Event.objects.filter(job=job, event="start").order_by("id")
    for retry, start in zip(retries, starts[1:], strict=True):
        assert retry.error_code == "AskedToFail"
        assert "failure" in retry.error_text
        assert retry.at <= retry.run_after <= start.at


def test_a_permanent_failure_ends_the_job_at_once(world: World) -> None:
    world.worker()
    job = reached(echo(permanent=True), "failed")
    assert (job.error_code, budgets(job.id)) == ("asked-to-fail", (1, 1, 0))


def test_the_last_allowed_failure_ends_the_job(world: World) -> None:
    world.worker()
    job_id = jobs.submit("echo", {"failTimes": 9}, max_attempts=2).id
    assert reached(job_id, "failed").error_code == "AskedToFail"
    assert budgets(job_id) == (2, 2, 0)


def test_a_handler_chooses_its_own_delay(world: World) -> None:
    world.worker()
    job = reached(submit("test-retry", afterSeconds=1.5), "succeeded")
    retry = Event.objects.get(job=job, event="retry")
    assert abs((retry.run_after - retry.at).total_seconds() - 1.5) < 0.1
    assert Event.objects.filter(job=job, event="start").last().at >= retry.run_after


def test_a_delayed_job_waits_without_a_scheduler(world: World) -> None:
    world.worker()
    job = reached(echo(delay_s=1.5), "succeeded")
    start = Event.objects.get(job=job, event="start")
    assert dt.timedelta(0) <= start.at - job.run_after < dt.timedelta(seconds=5)
    assert job.run_after - job.created_at >= dt.timedelta(seconds=1.4)


def test_urgent_queues_come_first(world: World) -> None:
    ids = {queue: [echo(queue=queue) for _ in range(5)] for queue in ("low", "default", "high")}
    world.worker("--concurrency", "1", "--burst")
    for some in ids.values():
        all_reached(some, "succeeded")
    order = Event.objects.filter(event="start").order_by("id").values_list("job__queue", flat=True)
    assert list(order) == ["high"] * 5 + ["default"] * 5 + ["low"] * 5


def test_a_paused_queue_rests_until_it_is_resumed_and_loses_nothing(world: World) -> None:
    operate.pause_queue("default", "alice")
    world.worker()
    waiting = [echo() for _ in range(5)]
    reached(echo(queue="high"), "succeeded")
    assert set(Job.objects.filter(pk__in=waiting).values_list("status", flat=True)) == {"queued"}
    operate.resume_queue("default", "alice")
    all_reached(waiting, "succeeded")


def test_a_queue_paused_under_a_running_worker_starts_nothing_more(world: World) -> None:
    world.worker()
    reached(echo(), "succeeded")
    operate.pause_queue("default", "alice")
    waiting = [echo() for _ in range(5)]
    reached(echo(queue="high"), "succeeded")
    assert set(Job.objects.filter(pk__in=waiting).values_list("attempt", flat=True)) == {0}
    operate.resume_queue("default", "alice")
    all_reached(waiting, "succeeded")


def test_progress_and_log_are_there_while_it_runs(world: World, tmp_path: Path) -> None:
    world.worker()
    gate = tmp_path / "gate"
    job_id = submit("test-steps", gate=str(gate))

    def progress() -> object:
        found = mirror.read_status(job_id)
        return found is not None and found[1]["status"] == "running" and found[1]["progress"]

    told = eventually(progress)
    assert told == {"current": 1, "total": 2, "message": "waiting for the gate"}
    eventually(lambda: LogLine.objects.filter(job_id=job_id, message="at the gate of the test").exists())
    gate.touch()
    assert reached(job_id, "succeeded").progress == {"current": 2, "total": 2, "message": "through"}
    assert list(LogLine.objects.filter(job_id=job_id).order_by("id").values_list("level", "message")) == [
        ("info", "at the gate of the test"),
        ("warning", "through the gate"),
    ]


def test_an_async_handler_runs_times_out_and_has_effects(world: World) -> None:
    world.worker()
    plain, slow = submit("test-async"), submit("test-async", seconds=60, timeout_s=1)
    assert reached(plain, "succeeded").result == "awaited"
    with_effect = submit("test-async", effect=True)
    assert reached(with_effect, "succeeded").result == "awaited"
    assert Effect.objects.get(job_id=with_effect).status == "done"
    eventually(lambda: Event.objects.filter(job_id=slow, event="retry", error_code="timeout").exists())
    operate.cancel(slow, actor=Actor.CLIENT, who="alice")
    reached(slow, "cancelled")


def test_an_isolated_handler_runs_in_a_process_of_its_own(world: World) -> None:
    world.worker()
    horse = live_lease().horse_pid
    first, second = (reached(submit("test-isolated"), "succeeded").result for _ in range(2))
    parents = {first["parent"], second["parent"]}  # each has a keeper to itself
    assert len({horse, first["pid"], second["pid"], *parents}) == 5


def test_a_cancelled_job_never_starts(world: World) -> None:
    job_id = echo()
    operate.cancel(job_id, actor=Actor.CLIENT, who="alice")
    world.worker()
    reached(echo(), "succeeded")
    assert story(job_id) == ["submit", "cancel"]


def test_a_cancel_interrupts_a_running_job(world: World) -> None:
    world.worker()
    ids = [echo(sleepSeconds=60), submit("test-polite"), submit("test-async", seconds=60)]
    all_reached(ids, "running")
    asked = time.monotonic()
    for job_id in ids:
        operate.cancel(job_id, actor=Actor.CLIENT, who="alice")
    all_reached(ids, "cancelled", timeout_s=30)
    assert time.monotonic() - asked < 30
    for job_id in ids:
        assert story(job_id) == ["submit", "start", "request_cancel", "abort"]
        assert budgets(job_id) == (1, 0, 0)


def test_a_cancel_inside_an_effect_waits_for_its_end(world: World) -> None:
    world.worker()
    job_id = echo(effect="charge", effectSleepSeconds=2.5)
    eventually(world.ledger, timeout_s=20)
    operate.cancel(job_id, actor=Actor.CLIENT, who="alice")
    reached(job_id, "cancelled")
    assert Effect.objects.get(job_id=job_id).status == "done"
    assert story(job_id) == ["submit", "start", "request_cancel", "abort"]


def test_nothing_waits_behind_slow_jobs_that_was_claimed_with_quick_ones(world: World) -> None:
    """Quick jobs let one thread hold many claims; then slow ones come, and what no thread begins goes back."""
    with transaction.atomic():
        quick = [echo() for _ in range(500)]
    slow = echo(sleepSeconds=30)
    quick += [echo(value=number) for number in range(30)]
    world.worker("--concurrency", "1")
    reached(slow, "running")
    eventually(lambda: not Job.objects.filter(id__in=quick, status="running").exists(), 10)
    world.worker("--concurrency", "1")
    all_reached(quick, "succeeded")
    assert Job.objects.get(id=slow).status == "running"
    jobs = Job.objects.filter(id__in=quick)
    assert jobs.filter(version__gt=3).exists(), "nothing was claimed ahead and given back"
    assert set(jobs.values_list("attempt", flat=True)) == {1}
    assert {tuple(story(job_id)) for job_id in quick} == {("submit", "start", "succeed")}
