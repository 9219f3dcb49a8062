"""What a worker does with Redis, tried: connect, write, read and delete under our keys, run the script, hear a command.

Everything is written under names of this probe's own, in transactions that delete it again, so nothing is left behind
whenever the probe is cut off.
"""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, cast

import redis
from redis.connection import SSLConnection

from jobs import queue
from jobs.conf import conf
from jobs.doctor.findings import Finding, failure, ok, warning
from jobs.doctor.refusals import away, kind_of, refusal

PATIENCE_S = 2.0
"""For one answer. Longer than workers wait for Redis, so that slow is told from away."""

ROUND_TRIPS = 5

OLDEST = (6, 2)
"""The script pops several ids at once (LPOP with a count)."""

NEARLY = 0.9
"""Of the memory or the connections that are allowed."""

OURS = (b"rq:", b"jobs:", b":1:")
"""Beginnings of keys: RQ's, ours, and those of Django's cache."""

Answer = dict[str, Any]


def probe() -> Iterator[Finding]:
    return look(queue.patient_broker(PATIENCE_S))


def look(broker: redis.Redis) -> Iterator[Finding]:
    """Findings about that server, or one that says that all is well."""
    try:
        median_s = _median_round_trip_s(broker)
    except queue.OUTAGE as error:
        yield away(error)
        return
    info = _info(broker)
    findings = [*_server(info), *_connection(broker, median_s)]
    yield from findings
    if info.get("cluster_enabled") or info.get("role") == "slave":
        return  # what is tried below would only say it again
    tried = [*_rights(broker), *_script(broker), *_channel(broker), *_others(broker)]
    yield from tried
    if not findings and not tried:
        version = info.get("valkey_version") or info.get("redis_version", "unknown")
        used = info.get("used_memory_human", "unknown")
        yield ok(
            f"Redis does what workers ask of it (version {version}, {used} used, {median_s * 1000:.1f} ms a round trip)"
        )


def _median_round_trip_s(broker: redis.Redis) -> float:
    times = []
    for _ in range(ROUND_TRIPS):
        began = time.monotonic()
        broker.ping()
        times.append(time.monotonic() - began)
    return statistics.median(times[1:])  # the first one connects


def _info(broker: redis.Redis) -> Answer:
    """What the server says about itself; {} where the user may not ask."""
    try:
        return broker.info()
    except redis.exceptions.ResponseError:
        return {}


def _server(info: Answer) -> Iterator[Finding]:
    if not info:
        yield warning(
            "redis-info",
            "the user may not run INFO, so memory, eviction and version stay unknown",
            "add +info to the user's ACL",
        )
        return
    version = str(info.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        yield failure("redis-old", f"Redis {version} is older than {'.'.join(map(str, OLDEST))}", "upgrade Redis")
    if info.get("cluster_enabled"):
        yield failure(
            "redis-cluster",
            "Redis runs in cluster mode, which is not supported: one call of ours works on keys of many slots",
            "use a Redis with `cluster-enabled no`",
        )
    if info.get("role") == "slave":
        yield failure("redis-replica", "this Redis is a replica, and takes no writes", "let REDIS_URL name the primary")
    if (policy := info.get("maxmemory_policy", "noeviction")) != "noeviction":
        yield warning(
            "redis-evicts",
            f"Redis evicts keys when it is full (maxmemory-policy {policy}); ids that go are found and pushed again, but late",
            "run on the Redis server: redis-cli CONFIG SET maxmemory-policy noeviction, and write it into its configuration",
        )
    most, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    if most and used > NEARLY * most:
        yield warning(
            "redis-nearly-full",
            f"Redis uses {used / most:.0%} of the {most // 2**20:,} MiB that it may use",
            "raise maxmemory, or give jobs a Redis of their own",
        )
    clients, allowed = int(info.get("connected_clients", 0)), int(info.get("maxclients", 0))
    if allowed and clients > NEARLY * allowed:
        yield warning("redis-clients", f"{clients:,} of {allowed:,} connections to Redis are taken", "raise maxclients")


def _connection(broker: redis.Redis, median_s: float) -> Iterator[Finding]:
    if median_s > conf().broker_budget_s / 2:
        yield warning(
            "redis-slow",
            f"a round trip to Redis takes {median_s * 1000:.0f} ms; after JOBS_BROKER_BUDGET_S ({conf().broker_budget_s:g} s) a call is given up",
            "bring Redis nearer, or raise JOBS_BROKER_BUDGET_S",
        )
    pool: Any = broker.connection_pool
    kwargs = pool.connection_kwargs
    host = str(kwargs.get("host", "localhost"))
    is_local = host in ("localhost", "::1") or host.startswith("127.") or kwargs.get("path")
    if kwargs.get("password") and not is_local and not issubclass(pool.connection_class, SSLConnection):
        yield warning(
            "redis-plain-password",
            f"the password for Redis on {host} travels in the clear",
            "use rediss:// in REDIS_URL, or a network that nobody else reads",
        )


def _rights(broker: redis.Redis) -> Iterator[Finding]:
    """Each pattern of keys, in a transaction that leaves nothing. One finding for each kind of refusal."""
    refused: dict[str, list[str]] = {}
    first: dict[str, Exception] = {}
    for pattern, steps in _patterns().items():
        try:
            with broker.pipeline(transaction=True) as pipeline:
                steps(pipeline)
                pipeline.execute()
        except queue.OUTAGE as error:
            name = kind_of(error)
            refused.setdefault(name, []).append(pattern)
            first.setdefault(name, error)
            if name == "redis-unreachable":
                break
    for name, patterns in refused.items():
        yield refusal(name, f"on {', '.join(patterns)}", first[name])


def _patterns() -> dict[str, Callable[[Any], object]]:
    mark = f"doctor-{uuid.uuid4().hex}"

    def as_list(key: str) -> Callable[[Any], object]:
        return lambda pipe: pipe.rpush(key, mark).lrange(key, 0, -1).lpop(key, 1).lpush(key, mark).llen(key).delete(key)

    def as_hash(key: str) -> Callable[[Any], object]:
        return lambda pipe: pipe.hset(key, mapping={"a": mark}).hgetall(key).expire(key, 10).delete(key)

    def as_set(key: str) -> Callable[[Any], object]:  # shared with live workers, so only the member goes
        return lambda pipe: pipe.sadd(key, mark).sismember(key, mark).srem(key, mark)

    def as_text(key: str) -> Callable[[Any], object]:
        return lambda pipe: pipe.set(key, mark, ex=10).getrange(key, 0, 5).exists(key).delete(key)

    return {
        "rq:queue:*": as_list(f"rq:queue:{mark}"),
        "rq:job:*": as_hash(f"rq:job:{mark}"),
        "rq:worker:*": as_hash(f"rq:worker:{mark}"),
        "rq:workers": as_set("rq:workers"),
        "rq:queues": as_set("rq:queues"),
        "rq:scheduler_instance:*": as_hash(f"rq:scheduler_instance:{mark}"),
        "rq:suspended": lambda pipe: pipe.exists(queue.SUSPENDED),
        "jobs:*": as_text(f"jobs:{mark}"),
    }


def _script(broker: redis.Redis) -> Iterator[Finding]:
    """The script by its digest, as workers call it; then a push, a pop and a mirror, in a transaction that deletes them."""
    job_id, name = uuid.uuid4(), f"doctor-{uuid.uuid4().hex}"
    entry = (f"{job_id}{1:08x}{0:08x}", b'"owner":"doctor","status":{}}')
    push = queue.Turn(mirrors=[entry], pushes=[(job_id, name)])
    pop = queue.Turn(pop=1, queues=[name])
    try:
        queue.run(queue.Turn(), broker)
        with broker.pipeline(transaction=True) as pipeline:
            pipeline.eval(queue.SCRIPT, 0, *push.arguments())
            pipeline.eval(queue.SCRIPT, 0, *pop.arguments())
            pipeline.delete(queue.LIST + name, f"{queue.HASH}{job_id}", f"jobs:status:{job_id}")
            pipeline.srem("rq:queues", queue.LIST + name)
            pipeline.exists(queue.SUSPENDED)
            _, popped, *_, is_suspended = pipeline.execute()
    except queue.OUTAGE as error:
        yield refusal(kind_of(error), "for the script that pushes and pops ids", error)
        return
    if popped != [name.encode(), str(job_id).encode()] and not is_suspended:
        yield failure(
            "redis-script", f"the script pushed an id and popped {popped!r}", "look whether a proxy stands before Redis"
        )


def _channel(broker: redis.Redis) -> Iterator[Finding]:
    """RQ's commands to workers come by a channel each."""
    name = f"rq:pubsub:doctor-{uuid.uuid4().hex}"
    try:
        with broker.pubsub() as channel:  # type: ignore[no-untyped-call]
            channel.subscribe(name)
            channel.get_message(timeout=PATIENCE_S)
            broker.publish(name, b"heard")
            heard = channel.get_message(timeout=PATIENCE_S)
    except queue.OUTAGE as error:
        yield refusal(kind_of(error), "for the channels rq:pubsub:*, by which RQ's tools command workers", error)
        return
    if heard is None or heard["data"] != b"heard":
        yield warning(
            "redis-channel",
            "what is published on rq:pubsub:* does not arrive",
            "look whether a proxy stands before Redis",
        )


def _others(broker: redis.Redis) -> Iterator[Finding]:
    """Who else uses this database number."""
    try:
        _, keys = cast(tuple[int, list[bytes]], broker.scan(0, count=1000))
        is_suspended = broker.exists(queue.SUSPENDED)
    except queue.OUTAGE:
        return  # a user who may not look at others' keys is as it should be
    if is_suspended:
        yield warning("suspended", "all workers are suspended by `rq suspend`", "python manage.py queues unsuspend")
    foreign = sum(not key.startswith(OURS) for key in keys)
    if foreign:
        yield warning(
            "redis-shared",
            f"other programs keep keys in this database of Redis: {foreign} of {len(keys)} that were looked at",
            "give jobs a database number of their own in REDIS_URL: a FLUSHDB, an eviction or a full memory of theirs delays jobs",
        )
