"""Schedules, queues, workers, API keys and the overview."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from jobs import operate, schedules
from jobs.api import keys
from jobs.models import ApiKey, Job, MinuteStat, QueueState, Schedule
from tests.admin.pages import inline_parts, log_in, messages_of, text
from tests.support.factory import make_job, make_lease

SCHEDULES = "/admin/jobs/schedule/"


def schedule_form(**changes: Any) -> dict[str, Any]:
    return {
        "name": "nightly", "type": "maintenance", "payload": "{}", "queue": "", "cron": "30 2 * * *",
        "time_zone": "Europe/Berlin", "every_s": "", "enabled": "on", "catch_up": "last", "catch_up_window_s": "86400",
        "catch_up_max": "100", "overlap": "allow", "jitter_s": "0", "pause_after_failures": "0", **changes,
    }  # fmt: skip


def stored(name: str = "nightly", **columns: Any) -> Schedule:
    schedules.store(Schedule(name=name, type="maintenance", **{"cron": "@hourly", **columns}), who="code")
    return Schedule.objects.get(name=name)


def test_a_new_schedule_starts_at_the_present_and_shows_its_next_slots(staff: Client) -> None:
    response = staff.post(SCHEDULES + "add/", schedule_form(), follow=True)
    assert response.status_code == 200, response.context["adminform"].errors
    schedule = Schedule.objects.get()
    assert schedule.changed_by == "staff"
    assert schedule.pointer is not None
    page = text(staff.get(f"{SCHEDULES}{schedule.pk}/change/"))
    assert page.count("02:30:00 in Europe/Berlin") == 5
    assert LogEntry.objects.get().user.get_username() == "staff"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"cron": "61 * * * *"}, "no cron expression"),
        ({"cron": "* * *"}, "has 3 fields"),
        ({"every_s": "60"}, "not both"),
        ({"cron": "", "every_s": ""}, "either a cron expression or an interval"),
        ({"time_zone": "Mars/Olympus"}, "no time zone"),
        ({"type": "no-such-type"}, "valid choice"),
        ({"payload": '{"nonsense": 1}'}, "nonsense"),
        ({"payload": "[1]"}, "JSON object"),
        ({"name": "with space"}, "A name is letters"),
        ({"jitter_s": "100000"}, "whole number from 0"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_explained(staff: Client, changes: dict[str, str], complaint: str) -> None:
    response = staff.post(SCHEDULES + "add/", schedule_form(**changes))
    assert response.status_code == 200
    assert complaint in text(response)
    assert inline_parts(response.content.decode()) == []
    assert not Schedule.objects.exists()


def test_an_edit_raises_the_version_and_leaves_what_ticks_wrote(staff: Client) -> None:
    schedule = stored()
    Schedule.objects.filter(pk=schedule.pk).update(last_note="dropped one")
    changes = schedule_form(cron="", every_s="3600", overlap="skip")
    assert staff.post(f"{SCHEDULES}{schedule.pk}/change/", changes).status_code == 302
    after = Schedule.objects.get(pk=schedule.pk)
    assert (after.version, after.every_s, after.cron, after.overlap) == (schedule.version + 1, 3600, "", "skip")
    assert (after.last_note, after.changed_by) == ("dropped one", "staff")


def test_a_name_is_never_changed(staff: Client) -> None:
    schedule = stored()
    staff.post(f"{SCHEDULES}{schedule.pk}/change/", schedule_form(name="other"))
    assert Schedule.objects.get().name == "nightly"


def test_run_pause_and_resume_ask_then_act_and_are_logged(staff: Client) -> None:
    schedule = stored()
    for verb in ("run", "pause", "resume"):
        url = f"{SCHEDULES}{schedule.pk}/do/{verb}/"
        assert inline_parts(staff.get(url).content.decode()) == []
        assert messages_of(staff.post(url, follow=True))
    assert Job.objects.get().source == "schedule"
    assert Schedule.objects.get().enabled
    assert LogEntry.objects.count() == 3
    told = messages_of(
        staff.post(SCHEDULES, {"action": "resume_schedules", "_selected_action": [schedule.pk]}, follow=True)
    )
    assert told == ["nightly was resumed already."]


def test_who_may_look_at_schedules_may_not_run_or_change_them(db: None) -> None:
    schedule = stored()
    bob = log_in("bob", "jobs.view_schedule")
    assert bob.get(f"{SCHEDULES}{schedule.pk}/change/").status_code == 200
    for verb in ("run", "pause"):
        assert bob.post(f"{SCHEDULES}{schedule.pk}/do/{verb}/").status_code == 403
    assert bob.post(f"{SCHEDULES}{schedule.pk}/change/", schedule_form()).status_code == 403
    assert Schedule.objects.get().version == schedule.version
    assert not Job.objects.exists()


def test_a_declared_schedule_cannot_be_deleted(staff: Client) -> None:
    schedules.synchronise()
    Schedule.objects.exclude(name="maintenance").delete()
    declared, own = Schedule.objects.get(), stored("own")
    assert staff.post(f"{SCHEDULES}{declared.pk}/delete/", {"post": "yes"}).status_code == 403
    assert staff.post(f"{SCHEDULES}{own.pk}/delete/", {"post": "yes"}).status_code == 302
    assert list(Schedule.objects.values_list("name", flat=True)) == ["maintenance"]


def test_an_api_keys_secret_is_shown_once_and_its_hash_never(staff: Client) -> None:
    form = {"client": "shop", "scopes": ["jobs:create", "jobs:read"], "expires_at_0": "", "expires_at_1": ""}
    response = staff.post("/admin/jobs/apikey/add/", form)
    (secret,) = re.findall(r"jk_[A-Za-z0-9]{8}_[A-Za-z0-9_-]{43}", response.content.decode())
    identity = keys.identify(secret)
    assert identity is not None
    assert (identity.client, identity.scopes) == ("shop", frozenset({"jobs:create", "jobs:read"}))
    key = ApiKey.objects.get()
    for url in ("/admin/jobs/apikey/", f"/admin/jobs/apikey/{key.pk}/change/", f"/admin/jobs/apikey/{key.pk}/history/"):
        html = staff.get(url).content.decode()
        assert key.prefix in html
        assert secret.split("_", 2)[2] not in html
        assert bytes(key.secret_hash).hex() not in html
    assert "no-store" in response.headers["Cache-Control"]
    assert all(secret not in entry.change_message for entry in LogEntry.objects.all())


def test_a_client_name_that_is_reserved_is_refused(staff: Client) -> None:
    response = staff.post("/admin/jobs/apikey/add/", {"client": "system", "scopes": ["jobs:read"]})
    assert "no client name" in text(response)
    assert not ApiKey.objects.exists()


def test_a_rotated_key_works_beside_the_old_one_and_a_revoked_one_no_more(staff: Client) -> None:
    old, old_secret = keys.create("shop")
    response = staff.post(f"/admin/jobs/apikey/{old.pk}/do/rotate/")
    (secret,) = re.findall(r"jk_[A-Za-z0-9]{8}_[A-Za-z0-9_-]{43}", response.content.decode())
    assert {getattr(keys.identify(text), "client", None) for text in (secret, old_secret)} == {"shop"}
    staff.post(f"/admin/jobs/apikey/{old.pk}/do/revoke/")
    assert keys.identify(old_secret) is None
    assert keys.identify(secret) is not None
    assert {entry.user.get_username() for entry in LogEntry.objects.all()} == {"staff"}


def test_api_keys_need_their_permissions(db: None) -> None:
    key, _ = keys.create("shop")
    bob = log_in("bob", "jobs.view_apikey")
    assert bob.get(f"/admin/jobs/apikey/{key.pk}/change/").status_code == 200
    assert bob.post("/admin/jobs/apikey/add/", {"client": "x", "scopes": ["jobs:read"]}).status_code == 403
    for verb in ("rotate", "revoke"):
        assert bob.post(f"/admin/jobs/apikey/{key.pk}/do/{verb}/").status_code == 403
    assert ApiKey.objects.get().revoked_at is None


def test_queues_show_depth_oldest_wait_running_and_workers(staff: Client) -> None:
    make_job(queue="high", queued_at=timezone.now() - dt.timedelta(minutes=5))
    make_job("running", queue="high")
    make_lease("worker-2", queues=["high"])
    make_lease("worker-2", queues=["high"])  # another horse of it
    make_lease("silent", queues=["high"], renewed_at=timezone.now() - dt.timedelta(minutes=5))
    make_lease(queues=["high"], revoked_at=timezone.now())
    operate.pause_queue("low", "carol")
    high, default, low = staff.get("/admin/jobs/queuestate/").context["queues"]
    assert (high.name, high.depth, high.running, high.workers) == ("high", "1", 1, 2)
    assert high.oldest_wait.startswith("5 min")
    assert (default.depth, default.oldest_wait) == ("0", "–")
    assert low.is_paused
    assert "paused by carol since" in text(staff.get("/admin/jobs/queuestate/"))


def test_pausing_a_queue_asks_then_acts_and_needs_its_permission(staff: Client) -> None:
    bob = log_in("bob", "jobs.view_queuestate")
    for verb in ("pause", "resume"):
        url = f"/admin/jobs/queuestate/high/{verb}/"
        assert bob.post(url).status_code == 403
        staff.get(url)
        before = QueueState.objects.filter(name="high", paused_at__isnull=False).exists()
        staff.post(url)
        assert QueueState.objects.filter(name="high", paused_at__isnull=False).exists() != before
    assert [entry.change_message for entry in LogEntry.objects.order_by("id")] == ["paused", "resumed"]
    assert staff.post("/admin/jobs/queuestate/nonsense/pause/", follow=True).status_code == 200
    assert not QueueState.objects.filter(name="nonsense").exists()


def test_a_workers_page_says_what_it_runs(staff: Client) -> None:
    job = make_job("running")
    page = staff.get(f"/admin/jobs/lease/{job.lease_id}/change/")
    assert str(job.pk) in text(page)
    assert "live" in text(page)
    silent = make_lease("worker-2", renewed_at=timezone.now() - dt.timedelta(minutes=5))
    assert "silent" in text(staff.get(f"/admin/jobs/lease/{silent.pk}/change/"))
    make_lease("revoked-worker", revoked_at=timezone.now())
    assert "revoked-worker" not in text(staff.get("/admin/jobs/lease/?state=live"))


def test_the_overview_adds_up_the_last_hour(staff: Client) -> None:
    minute = timezone.now().replace(second=0, microsecond=0)
    for outcome, count in (("succeed", 90), ("retry", 10)):
        MinuteStat.objects.create(
            minute=minute, queue="default", type="echo", outcome=outcome, worker="w", count=count,
            wait_1=count, run_5=count,
        )  # fmt: skip
    MinuteStat.objects.create(
        minute=minute - dt.timedelta(hours=3), queue="default", type="old", outcome="fail", worker="w", count=7
    )
    make_job("in_doubt")
    response = staff.get("/admin/jobs/minutestat/")
    (row,) = response.context["types"]
    assert (row.type, row.succeeded, row.bad) == ("echo", 90, 10)
    assert (row.wait, row.run) == ("≤ 10 ms / ≤ 10 ms", "≤ 1.0 s / ≤ 1.0 s")
    assert sum(bar.good_height + bar.bad_height for bar in response.context["bars"]) == pytest.approx(120)
    assert {tile.status: tile.count for tile in response.context["statuses"]}["in_doubt"] == "1"
    assert "1 effect in doubt" in text(response)
