"""Jobs that wait in a queue that the settings no longer name: seen, repaired, run and moved like all others."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from django.utils import timezone

import jobs
from jobs import operate, queue, queue_names, rebuild, reconcile, why
from jobs.conf import conf
from jobs.errors import UnknownQueue
from jobs.lifecycle import Status
from jobs.models import Job, QueueState
from tests.admin.pages import text
from tests.api.transports import Api, DjangoTransport
from tests.commands.terminal import manage
from tests.support.eventually import eventually
from tests.support.factory import make_job
from tests.support.world import World

OLD = "old-queue"
LIST = queue.LIST + OLD


@pytest.fixture
def django_api(db: None) -> Api:
    return Api(DjangoTransport())


@pytest.fixture
def left(settings) -> list[Job]:
    """Accepted into a queue of the settings of that time; one is due in an hour. Redis was told of the first."""
    named = conf().queues
    settings.JOBS_QUEUES = (*named, OLD)
    submitted = [jobs.submit("echo", {"value": n}, queue=OLD).id for n in range(2)]
    submitted.append(jobs.submit("echo", {}, queue=OLD, delay_s=3600).id)
    settings.JOBS_QUEUES = named
    return [Job.objects.get(pk=one) for one in submitted]


def listed() -> list[str]:
    return [entry.decode() for entry in queue.broker().lrange(LIST, 0, -1)]


@pytest.mark.django_db(transaction=True)
def test_they_are_seen_everywhere(left: list[Job], django_api: Api, staff) -> None:
    items = {item["name"]: item for item in django_api.get("/api/queues").json()["items"]}
    assert tuple(items) == (*conf().queues, OLD)
    assert (items[OLD]["queued"], items[OLD]["scheduled"], items[OLD]["listed"]) == (2, 1, False)
    assert items["default"]["listed"] is True
    metrics = django_api.get("/metrics").body.decode()
    assert f'jobs_queue_depth{{queue="{OLD}",status="queued"}} 2' in metrics
    assert f'jobs_queue_workers{{queue="{OLD}"}} 0' in metrics
    for page in ("minutestat", "queuestate"):
        shown = text(staff.get(f"/admin/jobs/{page}/"))
        assert OLD in shown
        assert "not in JOBS_QUEUES" in shown
    assert "not in JOBS_QUEUES" in manage("queues", "list").out
    said = why.waiting(left[0])
    assert said is not None
    assert said["code"] == "no-worker"
    assert "JOBS_QUEUES does not name it" in said["sentence"]
    assert f"rqworker {OLD}" in said["nextStep"]
    assert f"queues move {OLD} high" in said["nextStep"]
    later = why.waiting(left[2])
    assert later is not None
    assert f"JOBS_QUEUES does not name its queue {OLD}" in later["sentence"]


@pytest.mark.django_db(transaction=True)
def test_one_that_is_only_delayed_or_in_doubt_keeps_its_queue_visible(settings) -> None:
    make_job(Status.SCHEDULED, queue="delayed-only")
    make_job(Status.IN_DOUBT, queue="doubt-only")
    make_job(Status.RUNNING, queue="running-only")
    make_job(Status.SUCCEEDED, queue="over")
    assert queue_names.holding_open() == (*conf().queues, "delayed-only", "doubt-only", "running-only")
    assert queue_names.known() == conf().queues
    assert [name for name in ("delayed-only", "doubt-only", "running-only", "over") if queue_names.holds_open(name)] == [
        "delayed-only", "doubt-only", "running-only",
    ]  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_many_queues_are_found_by_one_search_each() -> None:
    for number in range(12):
        make_job(Status.QUEUED, queue=f"q{number:02}")
        make_job(Status.QUEUED, queue=f"q{number:02}")
    assert queue_names.known() == (*conf().queues, *(f"q{number:02}" for number in range(12)))


@pytest.mark.django_db(transaction=True)
def test_they_are_promoted_pushed_again_when_lost_and_pushed_once_after_a_loss(left: list[Job]) -> None:
    Job.objects.filter(pk=left[2].pk).update(run_after=timezone.now() - dt.timedelta(seconds=1))
    reconcile.reconcile()
    assert Job.objects.get(pk=left[2].pk).status == "queued"
    assert set(listed()) == {str(job.id) for job in left}
    queue.broker().delete(LIST)
    Job.objects.update(queued_at=timezone.now() - dt.timedelta(seconds=60))
    assert sum(map(rebuild.repush_lost, queue_names.known())) == 3
    assert sorted(listed()) == sorted(str(job.id) for job in left)
    for _ in range(2):
        reconcile.reconcile(is_thorough=True)
        assert sorted(listed()) == sorted(str(job.id) for job in left)


@pytest.mark.django_db(transaction=True)
def test_their_queue_can_be_paused_and_resumed_by_every_door(left: list[Job], django_api: Api) -> None:
    assert django_api.post(f"/api/queues/{OLD}/pause").json()["paused"] is True
    assert manage("queues", "resume", OLD).code == 0
    assert QueueState.objects.get(name=OLD).paused_at is None
    assert manage("queues", "pause", OLD).code == 0
    assert manage("queues", "pause", "never-was").code == 2
    assert django_api.post("/api/queues/never-was/pause").status == 404


def test_a_worker_for_that_queue_starts_as_long_as_jobs_wait_in_it(world: World, left: list[Job]) -> None:
    code, output = world.run("rqworker", "old-quene", "--burst")
    assert code == 2
    assert "no such queue: old-quene" in output
    code, output = world.run("rqworker-pool", "old-quene", "--burst")
    assert (code, "no such queue: old-quene" in output) == (2, True), output
    code, output = world.run("rqworker", OLD, "--burst")
    assert code == 0, output
    assert [Job.objects.get(pk=job.pk).status for job in left] == ["succeeded", "succeeded", "scheduled"]
    Job.objects.filter(pk=left[2].pk).update(run_after=timezone.now())
    code, output = world.run("rqworker-pool", OLD, "--burst")
    assert code == 0, output
    eventually(lambda: Job.objects.get(pk=left[2].pk).status == "succeeded")
    assert world.run("rqworker", OLD, "--burst")[0] == 2


def test_they_are_moved_by_one_command_and_run_by_the_workers_there(world: World, left: list[Job]) -> None:
    before = {job.pk: job.version for job in left}
    done = world.ask("queues", "move", OLD, "low", "--json")
    assert json.loads(done.stdout) == {"moved": 3, "left": False}, done.stderr
    assert set(Job.objects.values_list("queue", flat=True)) == {"low"}
    assert all(Job.objects.get(pk=key).version == version + 1 for key, version in before.items())
    assert not queue.broker().exists(LIST)
    assert LIST.encode() not in queue.broker().smembers("rq:queues")
    world.worker("low")
    eventually(lambda: Job.objects.filter(status="succeeded").count() == 2)
    assert world.ask("queues", "move", OLD, "low").returncode == 2


def test_a_job_that_runs_while_it_is_moved_ends_as_it_would(world: World, settings, tmp_path) -> None:
    named = conf().queues
    settings.JOBS_QUEUES = (*named, OLD)
    gate = tmp_path / "gate"
    job_id = jobs.submit("test-steps", {"gate": str(gate)}, queue=OLD).id
    world.worker(OLD)
    settings.JOBS_QUEUES = named
    eventually(lambda: Job.objects.get(pk=job_id).status == "running")
    assert operate.move_queue(OLD, "low", "alice") == 1
    gate.touch()
    eventually(lambda: Job.objects.get(pk=job_id).status == "succeeded")
    ended = Job.objects.get(pk=job_id)
    assert (ended.queue, ended.attempt, ended.result) == ("low", 1, "through")


@pytest.mark.django_db(transaction=True)
def test_jobs_are_moved_only_to_queues_of_the_settings(left: list[Job]) -> None:
    with pytest.raises(UnknownQueue, match="'nowhere'; JOBS_QUEUES has high, default, low"):
        operate.move_queue(OLD, "nowhere", "alice")
    assert manage("queues", "move", "low", "low").code == 2
    assert Job.objects.filter(queue=OLD).count() == 3


@pytest.mark.django_db(transaction=True)
def test_a_thousand_are_moved_in_short_transactions_and_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operate, "MOVED_AT_ONCE", 7)
    made = [make_job(Status.QUEUED, queue=OLD).id for _ in range(30)]
    assert operate.move_queue(OLD, "low", "alice") == 30
    moved = Job.objects.filter(queue="low").order_by("queued_at", "id").values_list("id", flat=True)
    assert list(moved) == made
    assert [entry.decode() for entry in queue.broker().lrange(queue.LIST + "low", 0, -1)] == [str(one) for one in made]


@pytest.mark.django_db(transaction=True)
def test_what_was_suspended_through_rq_goes_on_by_command() -> None:
    queue.broker().set(queue.SUSPENDED, 1)
    assert "take jobs again" in manage("queues", "unsuspend").out
    assert not queue.broker().exists(queue.SUSPENDED)
    assert "were not suspended" in manage("queues", "unsuspend").out
