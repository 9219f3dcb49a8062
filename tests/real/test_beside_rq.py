"""A project's own django-rq jobs beside ours: they run as before, or are refused where they are enqueued. None vanishes."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import Queue
from rq.job import Job as StockJob

from jobs import queue, reconcile
from jobs.models import Job
from jobs.worker import Worker
from jobsite import broker
from tests.real.watching import echo, reached
from tests.support.eventually import eventually
from tests.support.foreign_project import Theirs
from tests.support.world import World

REFUSED = {
    "enqueue": "get_queue('default').enqueue(touch, 'x')",
    "high": "get_queue('high').enqueue(touch, 'x')",
    "by its path": "get_queue('default').enqueue('theirs.work.touch', 'x', job_id='report')",
    "django_rq.enqueue": "django_rq.enqueue(touch, 'x')",
    "in a transaction": "in_transaction(lambda: django_rq.enqueue(touch, 'x'))",
    "on commit": "get_queue('default', commit_mode='on_db_commit').enqueue_call(touch, ('x',))",
    "enqueue_in": "get_queue('default').enqueue_in(timedelta(seconds=1), touch, 'x')",
    "enqueue_at": "get_queue('default').enqueue_at(datetime(2030, 1, 1), touch, 'x')",
    "many": "get_queue('default').enqueue_many([Queue.prepare_data(touch, ('x',))])",
    "a job of RQ": "get_queue('default').enqueue_job(Job.create(touch, ('x',), connection=get_connection('default')))",
    "scheduling one": "get_queue('default').schedule_job(Job.create(touch, connection=get_connection()), datetime.now())",
    "another class": "get_queue('default', job_class='rq.job.Job').enqueue(touch, 'x')",
    "the decorator": "django_rq.job('default')(touch).delay('x')",
    "rq-scheduler": "get_scheduler('default').enqueue_in(timedelta(seconds=1), touch, 'x')",
    "its cron": "get_scheduler('default').cron('* * * * *', touch, args=['x'])",
    "our function": "get_queue('default').enqueue('jobs.worker.perform', '00000000-0000-7000-8000-000000000000')",
}
TRY = """
import django_rq
from datetime import datetime, timedelta
from django.db import transaction
from django_rq import get_connection, get_queue, get_scheduler
from rq import Queue
from rq.job import Job
from theirs.work import touch

def in_transaction(call):
    with transaction.atomic():
        call()

def attempt(call):
    before = sorted(get_connection().keys("rq:*"))
    try:
        call()
    except Exception as error:
        return [type(error).__name__, str(error), sorted(get_connection().keys("rq:*")) == before]
    return ["nothing", "was raised", False]
"""


@pytest.fixture
def theirs(world: World, tmp_path: Path) -> Theirs:
    return Theirs(tmp_path, world)


def stock_queue(name: str, **options: Any) -> Queue:
    """What a process with other settings, or RQ without Django, makes of a queue."""
    return Queue(name, connection=queue.patient_broker(5), **options)


def test_jobs_of_rq_run_beside_ours_with_their_results_failures_and_schedules(theirs: Theirs) -> None:
    files = {name: theirs.folder / name for name in ("one", "two", "later", "scheduled", "in-transaction")}
    found = theirs.python(f"""
from datetime import datetime, timedelta
import django_rq, jobs
from django.db import transaction
from django_rq import get_queue, get_scheduler
from theirs.work import decorated, fail, touch
with transaction.atomic():
    get_queue("legacy").enqueue(touch, {str(files["in-transaction"])!r})
answer({{
    "ours": jobs.submit("echo", {{"value": "v"}}).id,
    "one": get_queue("legacy").enqueue(touch, {str(files["one"])!r}).id,
    "two": decorated.delay({str(files["two"])!r}).id,
    "bad": get_queue("legacy").enqueue(fail).id,
    "later": get_queue("legacy").enqueue_in(timedelta(seconds=1), touch, {str(files["later"])!r}).id,
    "scheduled": get_scheduler("legacy").enqueue_in(timedelta(seconds=1), touch, {str(files["scheduled"])!r}).id,
}})""")
    stock = theirs.manage("rqworker", "legacy", "--with-scheduler", "--name", "stock")
    ours = theirs.manage("rqworker", "--concurrency", "2")
    theirs.manage("rqscheduler", "--queue", "legacy", "--interval", "1")
    ticking = theirs.manage("rqscheduler")
    reached(uuid.UUID(found["ours"]), "succeeded", timeout_s=30)
    eventually(lambda: all(path.exists() for path in files.values()), timeout_s=40)
    connection = queue.patient_broker(5)
    eventually(lambda: StockJob.fetch(found["one"], connection=connection).get_status() == "finished")
    assert StockJob.fetch(found["one"], connection=connection).return_value() == "done"
    eventually(lambda: StockJob.fetch(found["bad"], connection=connection).get_status() == "failed")
    assert "as always" in str(StockJob.fetch(found["bad"], connection=connection).latest_result().exc_string)
    assert ours.is_alive
    assert stock.is_alive
    assert "Traceback" not in ours.log + ticking.log
    assert Job.objects.count() >= 1


def test_what_is_not_ours_is_refused_where_it_is_enqueued_and_nothing_is_written(theirs: Theirs) -> None:
    tries = ", ".join(f"{way!r}: attempt(lambda: {call})" for way, call in REFUSED.items())
    found = theirs.python(f"{TRY}\nanswer({{{tries}}})")
    assert found.keys() == REFUSED.keys()
    for way, (name, sentence, is_untouched) in found.items():
        assert name == "InvalidJobOperation", (way, name, sentence)
        assert "jobs.submit" in sentence, way
        assert "JOBS_QUEUES" in sentence, way
        assert is_untouched, way


@pytest.mark.parametrize("arguments", [("--burst",), ("--concurrency", "2")], ids=["a burst", "a worker that waits"])
@pytest.mark.parametrize("has_id", [False, True], ids=["RQ's id", "an id of theirs"])
def test_a_job_of_others_in_our_list_is_kept_named_and_can_be_run(
    theirs: Theirs, has_id: bool, arguments: tuple[str, ...]
) -> None:
    path = theirs.folder / "done"
    options = {"job_id": "monthly-report"} if has_id else {}
    job = stock_queue("default").enqueue("theirs.work.touch", str(path), **options)
    before = queue.broker().hgetall(f"rq:job:{job.id}")
    worker = theirs.manage("rqworker", *arguments)
    ours = echo()
    reached(ours, "succeeded", timeout_s=30)
    eventually(lambda: queue.broker().lrange("rq:queue:default.foreign", 0, -1) == [job.id.encode()])
    assert queue.broker().hgetall(f"rq:job:{job.id}") == before
    assert ascii(job.id) in worker.log
    assert not path.exists()
    code, log = theirs.run("rqworker", "default.foreign", "--burst")
    assert code == 0, log
    assert path.read_text() == "done"


def test_a_stock_worker_on_our_queue_runs_ours_and_keeps_what_is_not(theirs: Theirs) -> None:
    path = theirs.folder / "done"
    job = stock_queue("default").enqueue("theirs.work.touch", str(path))
    ours = echo()
    code, log = theirs.run("rqworker", "default", "--worker-class", "rq.Worker", "--burst", timeout_s=100)
    assert code == 0, log
    reached(ours, "succeeded")
    assert not path.exists()
    assert queue.broker().lrange("rq:queue:default.foreign", 0, -1) == [job.id.encode()]
    assert queue.broker().exists(f"rq:job:{job.id}") == 1


def test_rqs_own_command_runs_our_jobs_and_nothing_else_with_our_classes(theirs: Theirs) -> None:
    path = theirs.folder / "done"
    stock_queue("default").enqueue("theirs.work.touch", str(path))
    ours = echo()
    classes = ["--queue-class", "jobs.rq_classes.RqQueue", "--job-class", "jobs.rq_classes.RqJob"]
    done = subprocess.run(
        [sys.executable, "-m", "rq.cli", "worker", "default", "--burst", "--url", broker.url(theirs.world.data_dir),
         "--serializer", "rq.serializers.JSONSerializer", *classes],
        env=theirs.environment(), cwd=theirs.folder, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert reached(ours, "succeeded").attempt == 1, done.stderr
    assert not path.exists()
    assert queue.broker().llen("rq:queue:default.foreign") == 1


def test_a_rebuild_of_redis_keeps_jobs_of_others(world: World) -> None:
    ours = [echo() for _ in range(3)]
    jobs = [stock_queue("default").enqueue("theirs.work.touch", "x") for _ in range(2)]
    queue.broker().hset("rq:job:half", "status", "queued")  # what RQ leaves of a job is not one
    queue.broker().set("rq:job:text", "not a hash")
    queue.broker().rpush("rq:queue:default", "half", "text", "nobody's")
    reconcile.reconcile(is_thorough=True)
    assert queue.broker().lrange("rq:queue:default.foreign", 0, -1) == [job.id.encode() for job in jobs]
    assert sorted(queue.broker().lrange("rq:queue:default", 0, -1)) == sorted(str(job_id).encode() for job_id in ours)


@pytest.mark.parametrize("arguments", [("legacy", "default"), ("default", "legacy"), ("high", "legacy", "default")])
def test_a_worker_of_both_kinds_of_queues_is_refused_with_the_two_to_start(
    theirs: Theirs, arguments: tuple[str, ...]
) -> None:
    code, log = theirs.run("rqworker", *arguments)
    assert code == 2
    assert "rqworker legacy" in log
    assert f"rqworker {' '.join(name for name in arguments if name != 'legacy')}" in log
    assert "Traceback" not in log


def test_a_pool_serves_queues_of_others_with_rqs_worker(theirs: Theirs) -> None:
    path = theirs.folder / "done"
    theirs.python(f"from django_rq import get_queue\nget_queue('legacy').enqueue('theirs.work.touch', {str(path)!r})")
    code, log = theirs.run("rqworker-pool", "legacy", "--num-workers", "2", "--burst")
    assert code == 0, log
    assert path.read_text() == "done"


OLD = """
RQ = {"JOB_CLASS": "jobs.queue.RqJob", "WORKER_CLASS": "jobs.worker.Worker", "SCHEDULER_CLASS": "jobs.scheduler.Scheduler"}
"""


def test_our_classes_named_for_all_queues_refuse_jobs_of_rq_and_lose_none(world: World, tmp_path: Path) -> None:
    theirs = Theirs(tmp_path, world, OLD)
    name, sentence, is_untouched = theirs.python(f"{TRY}\nanswer(attempt(lambda: get_queue('legacy').enqueue(touch)))")
    assert (name, is_untouched) == ("InvalidJobOperation", True)
    assert "out of RQ" in sentence
    assert "jobs.W006" in theirs.run("check")[1]
    path = tmp_path / "done"
    stock_queue("legacy").enqueue("theirs.work.touch", str(path))
    assert theirs.run("rqworker", "legacy", "--burst")[0] == 0
    assert path.read_text() == "done"
    ours = echo()
    assert theirs.run("rqworker", "--burst")[0] == 0
    reached(ours, "succeeded")


def test_our_worker_is_not_made_for_queues_of_others(world: World, settings: Any) -> None:
    settings.RQ_QUEUES = {**settings.RQ_QUEUES, "legacy": {"URL": "redis://127.0.0.1:1/0"}}
    with pytest.raises(ValueError, match="legacy"):
        Worker(["default", "legacy"], connection=redis.Redis())
