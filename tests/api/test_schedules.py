"""Schedules by API: list, one, run now, pause, resume."""

from __future__ import annotations

import datetime as dt

import pytest
from django.core.exceptions import ValidationError

from jobs import schedules
from jobs.models import Job, Schedule
from jobs.schedules import tick
from tests.api.transports import Api
from tests.support.callers import Caller

HOUR = dt.timedelta(hours=1)


def make(name: str = "beat") -> Schedule:
    schedules.store(Schedule(name=name, type="echo", cron="*/5 * * * *", payload={"value": 1}), who="alice")
    return Schedule.objects.get(name=name)


def test_schedules_are_listed_with_their_next_slots(django_api: Api) -> None:
    Schedule.objects.create(
        name="daily", type="echo", cron="0 8 * * *", time_zone="Europe/Berlin", payload={"value": 1}
    )
    Schedule.objects.create(name="off", type="echo", every_s=60, enabled=False)
    daily, off = django_api.get("/api/schedules").json()["items"]
    assert (daily["name"], daily["cron"], daily["everySeconds"]) == ("daily", "0 8 * * *", None)
    assert len(daily["nextSlots"]) == 5
    assert (off["enabled"], off["everySeconds"], off["nextSlots"]) == (False, 60, [])


def test_a_schedule_that_somebody_broke_does_not_hide_the_others(django_api: Api) -> None:
    broken = Schedule(name="broken", type="echo", cron="nonsense")
    with pytest.raises((ValidationError, Exception)):
        schedules.validate(broken)
    broken.save()
    assert django_api.get("/api/schedules").json()["items"][0]["nextSlots"] == []


def test_one_schedule_shows_its_latest_slots_and_what_was_dropped(django_api: Api) -> None:
    make()
    Schedule.objects.update(pointer=dt.datetime(2031, 1, 1, tzinfo=dt.UTC))
    tick(Schedule.objects.get(), dt.datetime(2031, 1, 1, 1, 0, 30, tzinfo=dt.UTC))
    found = django_api.get("/api/schedules/beat").json()
    assert found["words"] == "Every 5 minutes (UTC)"
    assert found["recent"] == [
        {"slot": "2031-01-01T01:00:00Z", "jobId": str(Job.objects.get().pk), "lateSeconds": 30.0}
    ]
    (drop,) = found["dropped"]
    assert (drop["because"], drop["count"], drop["first"]) == ("catch-up", 11, "2031-01-01T00:05:00.000Z")


def test_a_schedule_runs_now_and_says_which_job_that_is(django_api: Api) -> None:
    make()
    answer = django_api.post("/api/schedules/beat/run")
    job = Job.objects.get()
    assert (answer.status, answer.json()["id"]) == (202, str(job.pk))
    assert answer.headers["location"] == f"/api/jobs/{job.pk}/status"
    assert job.payload == {"value": 1}


def test_a_schedule_is_paused_and_resumed(django_api: Api) -> None:
    make()
    paused = django_api.post("/api/schedules/beat/pause").json()
    assert (paused["enabled"], paused["nextSlots"]) == (False, [])
    assert paused["pausedBecause"].startswith("by ")
    assert django_api.post("/api/schedules/beat/pause").status == 200
    resumed = django_api.post("/api/schedules/beat/resume").json()
    assert (resumed["enabled"], resumed["pausedBecause"]) == (True, None)


@pytest.mark.parametrize("verb", ["", "/run", "/pause", "/resume"])
@pytest.mark.parametrize("name", ["nobody", "%00", "a%2Fb"])
def test_a_schedule_that_is_none_is_a_404(django_api: Api, verb: str, name: str) -> None:
    answer = django_api.post(f"/api/schedules/{name}{verb}") if verb else django_api.get(f"/api/schedules/{name}")
    assert answer.status == 404


def test_schedules_need_their_scope(db: None) -> None:
    make()
    carol = Caller("carol", ["jobs:create", "jobs:read"])
    assert carol.get("/api/schedules/beat").status_code == 403
    for verb in ("run", "pause", "resume"):
        assert carol.post(f"/api/schedules/beat/{verb}").status_code == 403
    assert not Job.objects.exists()
    assert Schedule.objects.get().enabled
