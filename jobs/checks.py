"""System checks: a setting that cannot work is named at start, with what to do about it.

An id belongs to one finding for ever. E: nothing starts; W: it runs, but not as promised.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.apps.config import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from pydantic import ValidationError

from jobs import registry
from jobs.conf import PREFIX, Conf, conf, database_alias, foreign, nearest

BEATS_IN_A_LEASE = 3
"""A lease must survive two renewals that fail."""

TAG = "jobs"
"""For commands that run for long and serve no pages: the checks of URLs and of the admin would load both for good."""


@register(TAG)
def settings_are_valid(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """E001 value, E002 misspelt name, W013 somebody else's; when these hold, those that compare settings."""
    others = [_not_ours(field) for field in foreign()]
    try:
        found = conf()
    except ValidationError as error:
        return [*others, *(_in_words(problem) for problem in error.errors())]
    return [
        *others,
        *_lease_outlives_renewals(found),
        *_types_have_queues(found),
        *_nothing_fails_on_purpose(found),
    ]


def _in_words(problem: Any) -> CheckMessage:
    field = str(problem["loc"][0])
    name = PREFIX + field.upper()
    if problem["type"] == "extra_forbidden":
        return Error(f"{name} is not a setting of the job system.", hint=_suggestion(field), id="jobs.E002")
    about = Conf.model_fields[field]
    return Error(
        f"{name}={problem['input']!r} is not valid: {problem['msg']}.",
        hint=f"{about.description} Default: {about.default!r}.",
        id="jobs.E001",
    )


def _not_ours(field: str) -> CheckMessage:
    return Warning(
        f"{PREFIX}{field.upper()} is not a setting of the job system, and has no effect on it.",
        hint=f"{_suggestion(field)} If it is another program's, add 'jobs.W013' to SILENCED_SYSTEM_CHECKS.",
        id="jobs.W013",
    )


def _suggestion(field: str) -> str:
    close = nearest(field)
    return f"Did you mean {PREFIX}{close.upper()}?" if close else "docs/settings.md lists every setting."


def _lease_outlives_renewals(found: Conf) -> Iterable[CheckMessage]:
    if found.renew_s * BEATS_IN_A_LEASE > found.lease_s:
        yield Error(
            f"JOBS_RENEW_S={found.renew_s:g} is too long for JOBS_LEASE_S={found.lease_s:g}.",
            hint=f"A lease lasts at least {BEATS_IN_A_LEASE} renewals: raise JOBS_LEASE_S or lower JOBS_RENEW_S.",
            id="jobs.E003",
        )


def _types_have_queues(found: Conf) -> Iterable[CheckMessage]:
    for job_type in registry.all_types():
        if job_type.queue not in found.queues:
            yield Warning(
                f"The type {job_type.name} runs in the queue {job_type.queue!r}, which JOBS_QUEUES does not have.",
                hint="Add the queue to JOBS_QUEUES; until then each job of this type must name another.",
                id="jobs.W003",
            )


def _nothing_fails_on_purpose(found: Conf) -> Iterable[CheckMessage]:
    if found.fail and not settings.DEBUG:
        yield Error(
            "JOBS_FAIL is set, but DEBUG is off.",
            hint="Fail-points kill processes; they are for tests. Unset JOBS_FAIL.",
            id="jobs.E011",
        )


@register(TAG)
def engine_is_ours(app_configs: Sequence[AppConfig] | None, **_: Any) -> Iterable[CheckMessage]:
    """Our commands win over django-rq's of the same names."""
    apps = list(settings.INSTALLED_APPS)
    names = [entry.partition(".apps.")[0] for entry in apps]
    if "django_rq" not in names:
        yield Error("django_rq is not in INSTALLED_APPS.", hint="Add it, below 'jobs'.", id="jobs.E005")
    elif names.index("jobs") > names.index("django_rq"):
        yield Error(
            "'jobs' stands after 'django_rq' in INSTALLED_APPS, so that its rqworker is not found.",
            hint="Of two commands with one name Django takes the earlier app's: move 'jobs' up.",
            id="jobs.E006",
        )


@register(TAG)
def databases_keep_promises(app_configs: Sequence[AppConfig] | None, **_: Any) -> Iterable[CheckMessage]:
    """What an acknowledged job rests on, database by database."""
    alias = database_alias()
    if alias not in settings.DATABASES:
        yield Error(
            f"JOBS_DATABASE={alias!r} is not in DATABASES.",
            hint=f"It is the alias of the job system's database; DATABASES has {', '.join(sorted(settings.DATABASES))}.",
            id="jobs.E012",
        )
        return
    database = settings.DATABASES[alias]
    engine, options = str(database.get("ENGINE", "")), database.get("OPTIONS", {})
    if engine.endswith("sqlite3"):
        yield from _sqlite_keeps_promises(options)
        if not engine.startswith("jobs."):
            yield Warning(
                "Writers of SQLite do not take turns.",
                hint="Under load some wait for long: set ENGINE = 'jobs.sqlite3', which is Django's backend with a queue.",
                id="jobs.W004",
            )
    elif not engine.endswith("postgresql"):
        yield Error(
            f"The database engine {engine!r} is not supported.", hint="Use SQLite or PostgreSQL.", id="jobs.E009"
        )
    else:
        yield from _postgresql_keeps_promises(str(options.get("options", "")))
    if not database.get("AUTOCOMMIT", True):
        yield Error(
            f"AUTOCOMMIT is off in DATABASES[{alias!r}].",
            hint="What is told as accepted would not be committed: take AUTOCOMMIT out of this entry.",
            id="jobs.E015",
        )
    if not settings.USE_TZ:
        yield Error("USE_TZ is off.", hint="Times are aware, and stored as UTC: set USE_TZ = True.", id="jobs.E010")


def _postgresql_keeps_promises(options: str) -> Iterable[CheckMessage]:
    for name, value, why, id in (
        (
            "idle_in_transaction_session_timeout",
            "5 s",
            "A machine that is cut off would hold the rows of its jobs",
            "W002",
        ),
        (
            "client_connection_check_interval",
            "1 s",
            "The statement of a dead client would go on, and hold its rows",
            "W008",
        ),
    ):
        if name not in options:
            yield Warning(
                f"PostgreSQL connections set no {name}.",
                hint=f"{why}: set it to {value} in OPTIONS['options'].",
                id=f"jobs.{id}",
            )


def _sqlite_keeps_promises(options: dict[str, Any]) -> Iterable[CheckMessage]:
    if str(options.get("transaction_mode", "")).upper() != "IMMEDIATE":
        yield Error(
            "SQLite runs deferred transactions.",
            hint="Under load they fail with 'database is locked': set OPTIONS['transaction_mode'] = 'IMMEDIATE'.",
            id="jobs.E008",
        )
    pragmas = str(options.get("init_command", "")).lower().replace(" ", "")
    for pragma, why in (
        ("journal_mode=wal", "readers and the writer would wait for each other"),
        ("synchronous=full", "a job that was accepted could be lost with the power"),
    ):
        if pragma not in pragmas:
            yield Warning(
                f"SQLite runs without {pragma}.",
                hint=f"Without it {why}: add 'PRAGMA {pragma}' to OPTIONS['init_command'].",
                id="jobs.W001",
            )
