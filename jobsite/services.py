"""From the URLs of the environment to Django's settings of the database, Redis and mail.

Pure: nothing is opened here. The numbers are budgets that the job system's promises rest on.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from redis.backoff import NoBackoff
from redis.connection import Connection, parse_url
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import SentinelManagedSSLConnection

from jobsite.environment import BASE_DIR, Environment

RESERVED = "in names, passwords and paths write % as %25, # as %23, ? as %3F, @ as %40 and, but in paths, / as %2F."

SQLITE = {
    # A read-then-write transaction that is not immediate fails under load with "database is locked".
    "transaction_mode": "IMMEDIATE",
    "timeout": 5,
    # FULL: an acknowledged job is on the disk, not only in the system's cache. MEMORY: a statement that returns
    # rows makes a temporary table, which costs more in a file than all the rest of the statement.
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY",
}

POSTGRESQL = {
    "connect_timeout": 5,
    # A machine that is cut off must not hold the rows of its jobs by an open transaction.
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
POSTGRESQL_SESSION = (
    "-c idle_in_transaction_session_timeout=5000 -c lock_timeout=2000"
    # A server process whose client was killed would go on with its statement, and keep its locks until that is over.
    " -c client_connection_check_interval=1000"
)


def database(env: Environment) -> dict[str, Any]:
    """Persistent connections: opening one costs more than accepting a job."""
    url = env.database_url or f"sqlite:///{quote(str(env.data_dir / 'jobs.sqlite3'))}"
    parts = _parts("DATABASE_URL", url)
    try:
        found: dict[str, Any] = dict(dj_database_url.parse(url, conn_max_age=None, conn_health_checks=True))
    except (ValueError, dj_database_url.ParseError):  # which would quote a part of the password
        raise ImproperlyConfigured(f"DATABASE_URL cannot be read: {RESERVED}") from None
    stated = found.get("OPTIONS") or {}
    if found["ENGINE"].endswith("sqlite3"):
        found["ENGINE"] = "jobs.sqlite3"
        found["OPTIONS"] = {**SQLITE, **stated}
        name = unquote(parts.path[1:])  # the parser takes %25 off twice
        if parts.netloc or name in ("", ":memory:"):
            raise ImproperlyConfigured(
                "DATABASE_URL names no file: sqlite:////absolute/path. Memory is of one process alone."
            )
        found["NAME"] = os.path.join(BASE_DIR, name)  # a relative one does not depend on where a command is called
    elif found["ENGINE"].endswith("postgresql"):
        if not found["NAME"] and "service" not in stated:
            raise ImproperlyConfigured("DATABASE_URL names no database: postgres://user:password@host:5432/name.")
        session = f"{POSTGRESQL_SESSION} {stated.get('options', '')}".strip()
        found["OPTIONS"] = {**POSTGRESQL, **stated, "options": session}
    else:
        raise ImproperlyConfigured("DATABASE_URL must be sqlite:// or postgres://: only these two are supported.")
    return found


def rq_queue(env: Environment, redis_url: str) -> dict[str, Any]:
    """An entry of `RQ_QUEUES`, from which the job system and RQ's tools make their clients."""
    if not env.redis_sentinels:
        _check_redis("REDIS_URL", redis_url)
        return {"URL": redis_url}
    options: dict[str, Any] = {}
    if redis_url:
        options = _check_redis("REDIS_URL", redis_url)
        if urlsplit(redis_url).scheme == "unix":
            raise ImproperlyConfigured("REDIS_URL beside REDIS_SENTINELS must begin with redis:// or rediss://.")
    addresses, how = _sentinels(env.redis_sentinels)
    primary = {name: value for name, value in options.items() if name not in ("host", "port", "connection_class")}
    return {
        "SENTINELS": addresses,
        "SENTINEL_KWARGS": how,
        "MASTER_NAME": env.redis_sentinel_service,
        "CONNECTION_KWARGS": {"db": 0, **primary, "ssl": urlsplit(redis_url).scheme == "rediss"},
    }


def cache(env: Environment, redis_url: str, budget_s: float) -> dict[str, Any]:
    """Django's cache, for handlers that use it. The job system asks no cache.

    `budget_s` bounds each wait for Redis; redis-py's own ten retries would make seconds of it, so they are off.
    """
    options: dict[str, Any] = {
        "SOCKET_TIMEOUT": budget_s,
        "SOCKET_CONNECT_TIMEOUT": budget_s,
        "CONNECTION_POOL_KWARGS": {"retry": Retry(NoBackoff(), 0)},
    }
    if redis_url or not env.redis_sentinels:
        _check_redis("REDIS_URL", redis_url)
    if env.redis_sentinels:
        stated = urlsplit(redis_url or "redis://primary/0")
        if stated.scheme == "unix":
            raise ImproperlyConfigured("REDIS_URL beside REDIS_SENTINELS must begin with redis:// or rediss://.")
        user, at, _ = stated.netloc.rpartition("@")
        redis_url = stated._replace(netloc=f"{user}{at}primary").geturl()
        # Not as the URL's host, which is small letters whatever the name is.
        options["CONNECTION_POOL_KWARGS"]["service_name"] = env.redis_sentinel_service
        if stated.scheme == "rediss":  # else the URL's own class is taken, which knows nothing of sentinels
            options["CONNECTION_POOL_KWARGS"]["connection_class"] = SentinelManagedSSLConnection
        options["CLIENT_CLASS"] = "django_redis.client.SentinelClient"
        options["CONNECTION_FACTORY"] = "django_redis.pool.SentinelConnectionFactory"
        options["SENTINELS"], how = _sentinels(env.redis_sentinels)
        budget = {"socket_timeout": budget_s, "socket_connect_timeout": budget_s, "retry": Retry(NoBackoff(), 0)}
        options["SENTINEL_KWARGS"] = {**how, **budget}
    return {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": redis_url, "OPTIONS": options}


def _parts(name: str, url: str) -> SplitResult:
    """The URL's parts. Raises ImproperlyConfigured for what Python or a driver would pass over, without a word of the URL's,
    since it may be of the password."""
    if any(character < " " or character == "\x7f" for character in url):
        raise ImproperlyConfigured(f"{name} holds a line break or another control character.")
    try:
        parts = urlsplit(url)
        is_whole = not parts.fragment and not url.endswith("#") and (parts.port is None or parts.port >= 0)
    except ValueError:
        is_whole = False
    if not is_whole or any("=" not in item for item in parts.query.split("&") if item):
        raise ImproperlyConfigured(f"{name} cannot be read: {RESERVED}")
    return parts


def _path_of(name: str, parts: SplitResult) -> str:
    """The absolute path of a URL of a file or a socket."""
    path = unquote(parts.path)
    if parts.hostname or not path.startswith("/"):
        raise ImproperlyConfigured(f"{name} needs an absolute path: {parts.scheme}:///folder/name.")
    return path


def _check_redis(name: str, url: str) -> dict[str, Any]:
    """redis-py's options. Raises what it would only say at the first connection, to whoever asks the API then."""
    if urlsplit(url).scheme not in ("redis", "rediss", "unix"):
        raise ImproperlyConfigured(f"{name} must begin with redis://, rediss:// or unix://.")
    parts = _parts(name, url)
    if parts.scheme == "unix":
        _path_of(name, parts)
    elif not parts.path.strip("/").isdigit() and parts.path not in ("", "/"):
        raise ImproperlyConfigured(f"{name} must end with the number of a database, as in redis://host:6379/0.")
    try:
        options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
        options.pop("connection_class", Connection)(**options)
    except (ValueError, TypeError, RedisError) as error:
        reason = str(error).rpartition("__init__() ")[2]
        raise ImproperlyConfigured(f"{name} cannot be read: {reason}.") from None
    for key in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if key in options and not Path(options[key]).is_file():
            raise ImproperlyConfigured(f"{name} names a file that is not there: {key}={options[key]}.")
    return options


def _sentinels(text: str) -> tuple[list[tuple[str, int]], dict[str, Any]]:
    """The addresses, and how to speak to them: what a URL with many hosts says beside them."""
    name = "REDIS_SENTINELS"
    url = urlsplit(text if "://" in text else f"redis://{text}")
    if url.scheme == "unix":
        raise ImproperlyConfigured(f"{name} must begin with redis:// or rediss://, or with a host.")
    user, at, hosts = url.netloc.rpartition("@")
    pairs = [item.strip().rpartition(":") for item in hosts.split(",") if item.strip()]
    if not pairs or not all(host and port.isdigit() for host, _, port in pairs):
        raise ImproperlyConfigured(f"{name} must be host:port,host:port,…")
    for host, _, port in pairs:
        options = _check_redis(name, url._replace(netloc=f"{user}{at}{host}:{port}").geturl())
    kept = {key: value for key, value in options.items() if key not in ("host", "port", "db", "connection_class")}
    return [(host.strip("[]"), int(port)) for host, _, port in pairs], {**kept, "ssl": url.scheme == "rediss"}


def mail(env: Environment) -> dict[str, Any]:
    """Django's EMAIL_* settings, by the scheme: smtp, smtps (TLS from the start), smtp+tls (STARTTLS), file, console."""
    default = f"file://{quote(str(env.data_dir / 'outbox'))}" if env.debug else "smtp://localhost:25"
    url = _parts("EMAIL_URL", env.email_url or default)
    try:
        timeout_s = int(parse_qs(url.query).get("timeout", ["10"])[0])
    except ValueError:
        raise ImproperlyConfigured("EMAIL_URL cannot be read: timeout is a whole number of seconds.") from None
    if url.scheme == "file":
        return {"EMAIL_BACKEND": "jobsite.mail.OutboxBackend", "EMAIL_FILE_PATH": _path_of("EMAIL_URL", url)}
    if url.scheme == "console":
        return {"EMAIL_BACKEND": "django.core.mail.backends.console.EmailBackend"}
    ports = {"smtp": 25, "smtps": 465, "smtp+tls": 587, "tls": 587}
    if url.scheme not in ports:
        raise ImproperlyConfigured("EMAIL_URL must begin with smtp://, smtps://, smtp+tls://, file:// or console:.")
    return {
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "EMAIL_HOST": url.hostname or "localhost",
        "EMAIL_PORT": url.port or ports[url.scheme],
        "EMAIL_HOST_USER": unquote(url.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(url.password or ""),
        "EMAIL_USE_SSL": url.scheme == "smtps",
        "EMAIL_USE_TLS": url.scheme in ("smtp+tls", "tls"),
        "EMAIL_TIMEOUT": timeout_s,
    }
