"""Clients of the job system's Redis: from the settings to connection pools that are ours alone.

`JOBS_REDIS_URL` names the server; without it the entry in `RQ_QUEUES` of the first queue of `JOBS_QUEUES` that has one
does. No cache of the project is asked. Each client has its own pool, a time limit on each wait, no retries, and
answers in bytes, whatever the project says of its own connections.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import redis
from django.core.signals import setting_changed
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from jobs.conf import PREFIX, conf, rq_queues

OUTAGE = (redis.exceptions.RedisError, OSError)
"""What a call to Redis may raise when Redis is away, full, read-only or slow."""


class NoRedis(redis.exceptions.ConnectionError):
    """No setting names the Redis of the job system: set JOBS_REDIS_URL."""

    def __str__(self) -> str:
        return str(self.__doc__)


@lru_cache(maxsize=1)
def broker() -> redis.Redis:
    """One client for all threads and tasks, with the time budget that an accepted job has for Redis."""
    return _connect(conf().broker_budget_s)


def patient_broker(timeout_s: float) -> redis.Redis:
    """For loops that block or may wait: a client with its own pool and socket timeout."""
    return _connect(timeout_s)


def is_reachable() -> bool:
    try:
        return bool(broker().ping())
    except Exception:
        return False


def stated() -> redis.Redis:
    """The client that the settings describe, not connected. Raises NoRedis, or what its library says of wrong settings."""
    if url := conf().redis_url:
        return redis.Redis.from_url(url)
    for entry in entries().values():
        return of_entry(entry)
    raise NoRedis


def entries() -> dict[str, dict[str, Any]]:
    """What `RQ_QUEUES` says of our queues, most urgent first."""
    known = rq_queues()
    return {name: known[name] for name in conf().queues if isinstance(known.get(name), dict)}


def of_entry(entry: dict[str, Any]) -> redis.Redis:
    """The client that django-rq makes of an entry in `RQ_QUEUES`."""
    from django_rq.connection_utils import get_redis_connection  # it reads Django's settings when it is imported

    return get_redis_connection(entry)


OWNED = ("connection_pool", "event_dispatcher", "himport_registry", "maint_notifications_pool_handler")
"""What a pool puts among the options of its connections and must not share with another pool."""


def place(client: redis.Redis) -> tuple[Any, ...]:
    """Where a client looks: equal for clients of the same database on the same server."""
    pool = client.connection_pool
    options = pool.connection_kwargs
    service = getattr(pool, "service_name", None)
    address = (service,) if service else (options.get("host"), int(options.get("port") or 6379), options.get("path"))
    return (*address, int(options.get("db") or 0))


def _connect(timeout_s: float) -> redis.Redis:
    pool = stated().connection_pool
    kwargs = {
        **{name: value for name, value in pool.connection_kwargs.items() if name not in OWNED},
        **_budget(timeout_s),
        "max_connections": pool.max_connections,
        "decode_responses": False,
        "encoding": "utf-8",
        "connection_class": pool.connection_class,
    }
    if not isinstance(pool, SentinelConnectionPool):
        return redis.Redis(connection_pool=redis.ConnectionPool(**kwargs))
    asked = pool.sentinel_manager
    addresses = [(each["host"], each["port"]) for each in map(_options, asked.sentinels)]
    options = {**asked.sentinel_kwargs, **_budget(conf().broker_budget_s)}
    manager = Sentinel(addresses, asked.min_other_sentinels, options)  # type: ignore[no-untyped-call]
    return redis.Redis(connection_pool=SentinelConnectionPool(pool.service_name, manager, **kwargs))  # type: ignore[no-untyped-call]


def _options(client: redis.Redis) -> dict[str, Any]:
    return client.connection_pool.connection_kwargs


def _budget(timeout_s: float) -> dict[str, Any]:
    """redis-py's own ten retries would cost an accepted job seconds when Redis is away, so they are off."""
    return {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": min(timeout_s, 5),
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "retry_on_timeout": False,
    }


def _forget(*, setting: str, **_: Any) -> None:
    if setting == "RQ_QUEUES" or setting.startswith(PREFIX):
        broker.cache_clear()


setting_changed.connect(_forget, dispatch_uid="jobs.redis_client")
