"""System checks of the way to Redis, and of what RQ is told about our queues and those of others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import redis
from django.apps.config import AppConfig
from django.core.checks import CheckMessage, Error, Warning, register
from django_rq.queues import get_queue_class
from pydantic import ValidationError

from jobs import redis_client
from jobs.checks import TAG
from jobs.conf import conf, rq_queues
from jobs.rq_classes import QUEUE_CLASS, RqQueue, ours_in_rq, theirs


@register(TAG)
def redis_is_named(app_configs: Sequence[AppConfig] | None, **_: Any) -> Iterable[CheckMessage]:
    """Where the job system's Redis is, and that RQ's tools and queues of others agree with it."""
    try:
        conf()
    except ValidationError:
        return  # `settings_are_valid` says what is wrong
    found = None
    try:
        found = redis_client.stated()
    except redis_client.NoRedis:
        yield Error(
            "No setting names the Redis of the job system.",
            hint="Add to the settings: JOBS_REDIS_URL = 'redis://127.0.0.1:6379/0'",
            id="jobs.E013",
        )
    except Exception as error:  # whatever django-rq, redis-py or a cache's library says
        yield Error(
            f"The Redis of the job system cannot be reached by these settings ({type(error).__name__}).",
            hint="JOBS_REDIS_URL is redis://host:6379/0, rediss://… or unix://…; without it RQ_QUEUES says it.",
            id="jobs.E014",
        )
    for name, entry in redis_client.entries().items():
        yield from _queue_is_ours(name, entry)
        if found is not None:
            yield from _redis_is_the_same(found, name, entry)
    others = theirs(rq_queues())
    if others and (settings_of_ours := ours_in_rq()):
        yield Warning(
            f"RQ names classes of the job system for all queues: {', '.join(settings_of_ours)}.",
            hint=f"Jobs of RQ are refused in {', '.join(others)}, too: take these names out of RQ.",
            id="jobs.W006",
        )


def _queue_is_ours(name: str, entry: dict[str, Any]) -> Iterable[CheckMessage]:
    try:
        found: Any = get_queue_class(entry)
    except (ImportError, AttributeError, ValueError):
        found = object
    if not issubclass(found, RqQueue):
        yield Error(
            f"RQ_QUEUES[{name!r}] has the QUEUE_CLASS {entry.get('QUEUE_CLASS')!r}, but {name!r} is in JOBS_QUEUES.",
            hint=f"A queue runs either jobs of the job system or jobs of RQ. Set QUEUE_CLASS to {QUEUE_CLASS!r}, or"
            f" take {name!r} out of JOBS_QUEUES.",
            id="jobs.E007",
        )


def _redis_is_the_same(found: redis.Redis, name: str, entry: dict[str, Any]) -> Iterable[CheckMessage]:
    try:
        is_same = redis_client.place(redis_client.of_entry(entry)) == redis_client.place(found)
    except Exception:
        is_same = False
    if not is_same:
        yield Warning(
            f"RQ_QUEUES[{name!r}] names another Redis than the job system uses.",
            hint="RQ's tools look for this queue there. Name one Redis for all queues of JOBS_QUEUES.",
            id="jobs.W005",
        )
