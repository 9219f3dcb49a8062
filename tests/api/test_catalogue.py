"""Types, queues, schedules, statistics, health and metrics."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest
from django.utils import timezone

from jobs import registry
from jobs.conf import conf
from jobs.lifecycle import Status
from jobs.models import MinuteStat
from tests.api.transports import Api
from tests.support.factory import make_job, make_lease
from tests.support.world import World


def test_all_registered_types_are_listed_with_the_schema_of_their_payload(django_api: Api) -> None:
    items = django_api.get("/api/job-types").json()["items"]
    assert [item["name"] for item in items] == [job_type.name for job_type in registry.all_types()]
    for item in items:
        assert django_api.get(f"/api/job-types/{item['name']}").json() == item
        assert item["payloadSchema"] is None or item["payloadSchema"]["type"] == "object"


def test_queues_show_what_waits_and_runs_and_who_serves_them(django_api: Api) -> None:
    make_job(Status.QUEUED, queue="low", queued_at=timezone.now() - dt.timedelta(seconds=30))
    make_job(Status.QUEUED, queue="low")
    make_job(Status.RUNNING, queue="low")
    make_job(Status.SUCCEEDED, queue="low")
    lease = make_lease(queues=["low", "high"])
    make_lease("gone", queues=["low"], revoked_at=timezone.now())
    items = {item["name"]: item for item in django_api.get("/api/queues").json()["items"]}
    assert tuple(items) == conf().queues
    low = items["low"]
    assert (low["queued"], low["running"], low["scheduled"]) == (2, 1, 0)
    assert 29 <= low["oldestWaitSeconds"] <= 60
    assert low["workers"] >= 1
    assert lease.queues == ["low", "high"]
    assert items["default"]["oldestWaitSeconds"] is None


def test_a_queue_can_be_paused_and_resumed(django_api: Api) -> None:
    paused = django_api.post("/api/queues/low/pause").json()
    again = django_api.post("/api/queues/low/pause").json()
    assert (paused["paused"], paused["pausedAt"]) == (True, again["pausedAt"])
    assert django_api.submit(queue="low")["status"] == "queued"
    assert django_api.post("/api/queues/low/resume").json()["paused"] is False


def add_stat(**columns: Any) -> None:
    values = {
        "minute": timezone.now().replace(second=0, microsecond=0), "queue": "default", "type": "echo",
        "outcome": "succeed", "worker": "w1", "count": 3, "wait_ms": 30, "run_ms": 300, "wait_1": 3, "run_3": 3,
    }  # fmt: skip
    MinuteStat.objects.create(**{**values, **columns})


def test_statistics_add_up_the_workers(django_api: Api) -> None:
    add_stat()
    add_stat(worker="w2")
    add_stat(outcome="fail", count=1)
    add_stat(type="other")
    add_stat(minute=timezone.now() - dt.timedelta(hours=3))
    items = django_api.get("/api/stats?type=echo").json()["items"]
    assert [(item["outcome"], item["count"], item["waitMs"]) for item in items] == [("fail", 1, 30), ("succeed", 6, 60)]
    assert items[1]["run"] == [0, 0, 0, 6, 0, 0, 0, 0, 0, 0]
    assert sum(item["count"] for item in django_api.get("/api/stats?minutes=1440").json()["items"]) == 13


@pytest.mark.parametrize("query", ["minutes=0", "minutes=1441", "minutes=x", "hours=1", "queue=%00"])
def test_statistics_refuse_what_makes_no_sense(django_api: Api, query: str) -> None:
    assert django_api.get(f"/api/stats?{query}").status == 400


def test_the_process_is_live_whoever_asks_and_by_both_ways(api: Api) -> None:
    answer = api.get("/health/live", Authorization="")
    assert (answer.status, answer.json()) == (200, {"status": "live"})


def test_ready_means_that_the_database_takes_writes(django_api: Api) -> None:
    answer = django_api.get("/health/ready", Authorization="")
    assert (answer.status, answer.json()["status"], answer.json()["warnings"]) == (200, "ready", [])


def test_redis_away_is_a_warning_only(django_api: Api, world: World) -> None:
    world.kill_broker()
    answer = django_api.get("/health/ready")
    assert answer.status == 200
    assert answer.json()["checks"]["redis"] == "unreachable"
    assert len(answer.json()["warnings"]) == 1


SAMPLE = re.compile(r'[a-z_]+(\{[a-z_]+="(?:[^"\\]|\\.)*"(,[a-z_]+="(?:[^"\\]|\\.)*")*\})? -?\d+(\.\d+)?(e[+-]?\d+)?')


def test_metrics_are_prometheus_text_that_agrees_with_the_statistics(django_api: Api) -> None:
    add_stat()
    add_stat(worker="w2")
    make_job(Status.QUEUED, queue="low")
    make_job(Status.IN_DOUBT)
    answer = django_api.get("/metrics", Authorization="")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.body.decode().splitlines()
    assert [line for line in lines if not line.startswith("# ") and not SAMPLE.fullmatch(line)] == []
    assert 'jobs_attempts_total{queue="default",type="echo",outcome="succeed"} 6' in lines
    assert 'jobs_queue_depth{queue="low",status="queued"} 1' in lines
    assert 'jobs_run_seconds_bucket{queue="default",type="echo",le="0.1"} 6' in lines
    assert 'jobs_run_seconds_count{queue="default",type="echo"} 6' in lines
    assert "jobs_in_doubt 1" in lines


def test_workers_are_those_who_were_heard_of_lately_however_many_horses_they_have(django_api: Api) -> None:
    for name in ("one", "two", "two"):
        make_lease(name, concurrency=5)
    make_lease("revoked", revoked_at=timezone.now())
    make_lease("silent", renewed_at=timezone.now() - dt.timedelta(seconds=conf().lease_s + 1))
    lines = django_api.get("/metrics").body.decode().splitlines()
    assert {"jobs_workers 2", "jobs_worker_threads 15"} <= set(lines)
    assert {item["workers"] for item in django_api.get("/api/queues").json()["items"]} == {2}


@pytest.mark.parametrize("accept", ["text/plain", "text/plain; version=0.0.4", "text/html, text/*;q=0.1", "*/*"])
def test_metrics_are_for_who_takes_text(django_api: Api, accept: str) -> None:
    assert django_api.get("/metrics", Accept=accept).headers["content-type"].startswith("text/plain; version=0.0.4")
    assert django_api.get("/metrics", Accept="text/html").status == 406
