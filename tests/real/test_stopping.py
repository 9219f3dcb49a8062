"""Workers that are told to stop, drain or come back: nothing is lost and nobody is charged."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from jobs import failpoints, queue
from jobs.models import Event, Job, Lease
from tests.real.watching import (
    all_reached,
    budgets,
    descendants,
    echo,
    horse_pid,
    is_gone,
    live_lease,
    reached,
    story,
    submit,
)
from tests.support.eventually import eventually
from tests.support.world import World


def test_a_warm_stop_lets_jobs_finish_and_takes_nothing_new(world: World) -> None:
    worker = world.worker()
    running = submit("test-finishing")
    reached(running, "running")
    worker.send(signal.SIGTERM)
    worker.says("told to stop")
    late = echo()
    assert worker.wait() == 0, worker.log
    assert reached(running, "succeeded").result == "finished"
    assert story(late) == ["submit"]


def test_what_outlasts_the_grace_is_released_and_charged_nothing(world: World) -> None:
    worker = world.worker(JOBS_STOP_GRACE_S="1")
    ids = [submit("test-nap", seconds=60), submit("test-stubborn"), submit("test-isolated", seconds=60)]
    all_reached(ids, "running")
    world.worker("--name", "bystander", "high")  # its housekeeping must not see a crash in this
    assert worker.stop() == 0, worker.log
    for job_id in ids:
        assert story(job_id) == ["submit", "start", "release"]
        assert budgets(job_id) == (1, 0, 0)
    assert Lease.objects.filter(revoked_at=None).count() == 1


def test_the_second_signal_stops_at_once(world: World, tmp_path: Path) -> None:
    worker = world.worker()
    ledger = tmp_path / "ledger"
    job_id = submit("test-nap", seconds=60, ledger=str(ledger))
    eventually(ledger.exists)  # its handler has begun; a job is running a moment before that
    worker.send(signal.SIGINT)
    worker.says("told to stop")
    worker.send(signal.SIGINT)
    assert worker.wait(10) == 0, worker.log
    assert story(job_id) == ["submit", "start", "release"]


def test_a_stopped_worker_leaves_no_process_behind(world: World) -> None:
    worker = world.worker(JOBS_STOP_GRACE_S="0.5")
    job_id = submit("test-spawn")
    reached(job_id, "running")
    inner = eventually(lambda: descendants(horse_pid()))
    worker.stop()
    eventually(lambda: all(is_gone(pid) for pid in inner))


def test_a_burst_drains_all_queues_and_ends_well(world: World) -> None:
    ids = [echo(queue=queue) for queue in ("low", "high", "default") for _ in range(10)]
    code, log = world.run("rqworker", "--burst")
    assert code == 0, log
    all_reached(ids, "succeeded", timeout_s=0)


def test_a_worker_ends_after_so_many_jobs_and_gives_the_others_back(world: World) -> None:
    for _ in range(20):
        echo()
    code, log = world.run("rqworker", "--max-jobs", "5")
    assert code == 0, log
    assert Event.objects.filter(event="start").count() == 5
    assert Job.objects.filter(status="succeeded").count() == 5
    world.run("rqworker", "--burst")
    assert Job.objects.filter(status="succeeded").count() == 20


def test_a_worker_ends_when_it_was_idle_for_so_long(world: World) -> None:
    job_id = echo()
    code, log = world.run("rqworker", "--max-idle-time", "1")
    assert code == 0, log
    all_reached([job_id], "succeeded", timeout_s=0)


def test_every_flag_of_django_rqs_command_is_taken(world: World, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    worker = world.worker(
        "high", "low", "--name", "flagged", "--pid", str(pid_file), "--with-scheduler", "--worker-ttl", "300",
        "--serializer", "rq.serializers.JSONSerializer", "--queue-class", "rq.Queue", "--job-class", "jobs.queue.RqJob",
        "--max-jobs", "1000", "--max-idle-time", "600", "--worker-class", "jobs.worker.Worker", "--concurrency", "2",
    )  # fmt: skip
    lease = live_lease("flagged")
    assert (lease.queues, lease.concurrency) == (["high", "low"], 2)
    assert int(pid_file.read_text()) == worker.pid
    reached(echo(queue="low"), "succeeded")
    assert worker.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "no such queue: nowhere"),
        (["--concurrency", "0x"], "invalid int"),
        (["--concurrency", "-1"], "1 to 1000"),
        (["--pid", "/nowhere/pid"], "/nowhere/pid cannot be written"),
        (["--worker-class", "rq.worker.Nobody"], "Nobody"),
        (["--job-class", "nowhere.Job"], "nowhere"),
        (["--serializer", "nowhere.Serializer"], "nowhere"),
    ],
)
def test_a_mistake_in_the_command_is_one_sentence(world: World, arguments: list[str], words: str) -> None:
    code, log = world.run("rqworker", *arguments)
    assert code == 2
    assert words in log
    assert "Traceback" not in log


def test_a_rolling_restart_costs_no_budget(world: World) -> None:
    first = world.worker(JOBS_STOP_GRACE_S="1")
    ids = [submit("test-nap", seconds=4, once=True) for _ in range(5)] + [echo(sleepSeconds=4) for _ in range(5)]
    all_reached(ids, "running")
    second = world.worker(JOBS_STOP_GRACE_S="1")
    assert first.stop() == 0
    all_reached(ids, "succeeded", timeout_s=30)
    assert second.stop() == 0
    assert {budgets(job_id)[1:] for job_id in ids} == {(0, 0)}


def test_a_pool_starts_its_workers_replaces_them_and_stops_them_warm(world: World) -> None:
    pool = world.manage("rqworker-pool", "--num-workers", "2", "--concurrency", "3")
    leases = eventually(lambda: _live(2), timeout_s=30)
    assert {lease.concurrency for lease in leases} == {3}
    running = submit("test-finishing")
    reached(running, "running")
    pool.send(signal.SIGTERM)
    assert pool.wait() == 0, pool.log
    assert reached(running, "succeeded").result == "finished"
    assert _live(0) == []


def test_a_killed_pool_leaves_nobody_behind(world: World) -> None:
    pool = world.manage("rqworker-pool", "--num-workers", "2")
    eventually(lambda: _live(2), timeout_s=30)
    below = descendants(pool.pid)
    assert len(below) >= 4
    pool.kill()
    eventually(lambda: all(is_gone(pid) for pid in below))


def test_a_worker_of_a_pool_that_dies_is_replaced(world: World) -> None:
    world.manage("rqworker-pool", "--num-workers", "1")
    (lease,) = eventually(lambda: _live(1), timeout_s=30)
    os.kill(lease.parent_pid, signal.SIGKILL)
    eventually(lambda: Lease.objects.exclude(pk=lease.pk).filter(horse_pid__isnull=False).exists(), timeout_s=30)
    reached(echo(), "succeeded", timeout_s=30)


def test_reload_restarts_the_worker_on_a_change_of_code(world: World, tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("x = 1\n")
    worker = world.manage("rqworker", "--reload", cwd=tmp_path, PYTHONPATH="")
    lease = live_lease()
    time.sleep(0.5)  # the watcher starts beside the worker and says nothing
    (tmp_path / "module.py").write_text("x = 2\n")
    eventually(lambda: Lease.objects.filter(revoked_at=None).exclude(pk=lease.pk).exists(), timeout_s=30)
    reached(submit("test-isolated"), "succeeded")  # isolated attempts find the project from any folder, too
    assert worker.stop() == 0, worker.log
    assert Lease.objects.filter(revoked_at=None).count() == 0


def _live(count: int) -> list[Lease]:
    found = list(Lease.objects.filter(revoked_at=None, horse_pid__isnull=False))
    assert len(found) == count
    return found


def test_an_id_on_its_way_is_given_back_by_a_stop(world: World) -> None:
    worker = world.worker("--horses", "1", JOBS_FAIL="claim.after_pop:1:sleep")
    job_id = echo()
    eventually(lambda: any((world.data_dir / failpoints.FOLDER).glob("*")), timeout_s=20)  # popped, and held back
    assert worker.stop() == 0, worker.log
    assert queue.broker().lrange("rq:queue:default", 0, -1) == [str(job_id).encode()]
    assert story(job_id) == ["submit"]
