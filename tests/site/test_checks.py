"""System checks: each finding has its id, its reason and its remedy."""

from __future__ import annotations

import pytest
from django.conf import settings as django_settings
from django.contrib import admin
from django.core.checks import run_checks
from pydantic import ValidationError

from jobs.conf import conf
from jobs.models import Job

OURS = {"URL": "redis://h/0", "QUEUE_CLASS": "jobs.queue.RqQueue"}
LEGACY = {"default": OURS, "legacy": {"URL": "redis://h/0"}}


def ids() -> list[str]:
    return [str(message.id) for message in run_checks() if str(message.id).startswith("jobs.")]


def test_the_project_as_it_ships_has_no_finding():
    assert ids() == []


def test_the_admin_has_no_finding():
    import jobsite.urls  # noqa: F401 - what fills the admin; of checks that run together it may come last

    assert admin.site.is_registered(Job)
    assert run_checks(tags=["admin"]) == []


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"JOBS_TIMEOUT_S": "soon"}, "jobs.E001"),
        ({"JOBS_TIMOUT_S": "5"}, "jobs.E002"),
        ({"JOBS_ATTEMPTS_MAX": "5"}, "jobs.E002"),
        ({"JOBS_LEASE_SECONDS": "5"}, "jobs.E002"),
        ({"JOBS_FIAL": ""}, "jobs.E002"),
        ({"JOBS_BOARD_URL": "/jobs"}, "jobs.W013"),
        ({"JOBS_DATABASE_URL": "postgres://…"}, "jobs.W013"),
        ({"JOBS_LEASE_S": "8"}, "jobs.E003"),
        ({"INSTALLED_APPS": ["jobs"]}, "jobs.E005"),
        ({"INSTALLED_APPS": ["django_rq", "jobs"]}, "jobs.E006"),
        ({"RQ_QUEUES": {"default": {"URL": "redis://h/0", "QUEUE_CLASS": "rq.Queue"}}}, "jobs.E007"),
        ({"RQ_QUEUES": {"default": {"URL": "redis://h/0", "QUEUE_CLASS": "rq.Misspelt"}}}, "jobs.E007"),
        ({"RQ_QUEUES": {"legacy": {"URL": "redis://h/0"}}}, "jobs.E013"),
        ({"RQ_QUEUES": None}, "jobs.E013"),
        ({"RQ_QUEUES": {"default": {"URL": "http://h/0"}}}, "jobs.E014"),
        ({"JOBS_REDIS_URL": "redis:/h"}, "jobs.E014"),
        ({"JOBS_REDIS_URL": "redis://another.example.com/0"}, "jobs.W005"),
        ({"RQ_QUEUES": LEGACY, "RQ": {"JOB_CLASS": "jobs.queue.RqJob"}}, "jobs.W006"),
        ({"USE_TZ": False}, "jobs.E010"),
        ({"JOBS_FAIL": "run.start:1:kill"}, "jobs.E011"),
        ({"JOBS_FAIL": "run.never:1:kill"}, "jobs.E001"),
        ({"JOBS_QUEUES": "high default"}, "jobs.W003"),
    ],
)
def test_a_setting_that_cannot_work_has_its_finding(changes, finding, settings, monkeypatch):
    for name, value in changes.items():
        if name.startswith("JOBS_"):
            setattr(settings, name, value)
        else:
            # Without Django's signal: swapping the apps for real is no part of this.
            monkeypatch.setattr(django_settings, name, value, raising=False)
    assert finding in ids()


@pytest.mark.parametrize(
    ("database", "finding"),
    [
        ({"ENGINE": "django.db.backends.sqlite3", "OPTIONS": {}}, "jobs.E008"),
        ({"ENGINE": "django.db.backends.sqlite3", "OPTIONS": {"transaction_mode": "IMMEDIATE"}}, "jobs.W001"),
        ({"ENGINE": "django.db.backends.sqlite3", "OPTIONS": {"transaction_mode": "IMMEDIATE"}}, "jobs.W004"),
        ({"ENGINE": "django.db.backends.mysql"}, "jobs.E009"),
        ({"ENGINE": "django.db.backends.postgresql"}, "jobs.W002"),
        ({"ENGINE": "django.db.backends.postgresql", "AUTOCOMMIT": False}, "jobs.E015"),
    ],
)
def test_a_database_that_breaks_promises_has_its_finding(database, finding):
    from jobs.checks import databases_keep_promises

    before = django_settings.DATABASES["default"]
    try:
        django_settings.DATABASES["default"] = database
        assert finding in [message.id for message in databases_keep_promises(None)]
    finally:
        django_settings.DATABASES["default"] = before


def test_every_finding_says_what_to_do(settings):
    settings.JOBS_LEASE_S = "8"
    settings.JOBS_QUEUES = "high default"
    found = [message for message in run_checks() if str(message.id).startswith("jobs.")]
    assert found
    assert all(message.hint for message in found)


@pytest.mark.parametrize(
    "name",
    ["JOBS_BOARD_URL", "JOBS_PER_PAGE", "JOBS_EMAIL", "JOBS_DATABASE_URL", "JOBS_API_KEY", "JOBS_LOGO", "JOBS_LIST"],
)
def test_settings_of_another_program_stop_nobody(name, settings):
    setattr(settings, name, "theirs")
    found = [message for message in run_checks() if str(message.id).startswith("jobs.")]
    assert [message.id for message in found] == ["jobs.W013"]
    assert conf().queues


def test_a_service_link_in_django_s_settings_is_passed_over(settings):
    settings.JOBS_API_PORT = "tcp://10.0.0.1:80"
    assert ids() == []


def test_a_slip_stops_also_what_runs_no_checks(settings):
    settings.JOBS_CONCURENCY = "5"
    with pytest.raises(ValidationError, match="concurency"):
        conf()
