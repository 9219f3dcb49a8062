"""What Redis says when it refuses something, put into findings."""

from __future__ import annotations

import redis

from jobs.doctor.findings import Finding, broker_fix, failure, first_line

RULE = "give the user the rights that docs/operate.md lists under `Redis: transport and rights`"

KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("redis-full", ("OOM",)),
    ("redis-replica", ("READONLY",)),
    ("redis-rights", ("NOPERM", "ACL failure", "can't access", "no permissions", "No permissions")),
    ("redis-cluster", ("MOVED", "CROSSSLOT", "CLUSTERDOWN", "non local key", "cluster")),
    ("redis-cannot-save", ("MISCONF",)),
    ("redis-few-replicas", ("NOREPLICAS",)),
    ("redis-commands", ("unknown command", "Unknown Redis command")),
)
"""Beginnings and words of what a server answers, and what they come to."""

FIXES = {
    "redis-full": "raise maxmemory, or free memory; nothing can be pushed until then, and workers ask the database",
    "redis-replica": "let REDIS_URL name the primary",
    "redis-rights": RULE,
    "redis-cluster": "use a Redis with `cluster-enabled no`",
    "redis-cannot-save": "look at Redis' log and at its disk: it refuses writes since it cannot save",
    "redis-few-replicas": "bring its replicas back, or lower min-replicas-to-write",
    "redis-commands": "do not rename or switch off commands of this Redis; EVAL and EVALSHA are needed",
}


CLASSES: dict[type[Exception], str] = {
    redis.exceptions.OutOfMemoryError: "redis-full",
    redis.exceptions.ReadOnlyError: "redis-replica",
    redis.exceptions.NoPermissionError: "redis-rights",
}
"""Errors whose class the client takes from the answer, whose first word is gone then."""


def kind_of(error: Exception) -> str:
    if type(error) in CLASSES:
        return CLASSES[type(error)]
    said = str(error)
    for name, words in KINDS:
        if any(word in said for word in words):
            return name
    return "redis-refused" if isinstance(error, redis.exceptions.ResponseError) else "redis-unreachable"


def refusal(name: str, what: str, error: Exception) -> Finding:
    said = first_line(error)
    if name == "redis-unreachable":
        return away(error)
    return failure(name, f"Redis refuses what workers do {what}: {said}", FIXES.get(name, "look at the Redis server"))


def away(error: Exception) -> Finding:
    said = first_line(error)
    if isinstance(error, redis.exceptions.AuthenticationError) or "WRONGPASS" in said or "NOAUTH" in said:
        return failure("redis-login", f"Redis refuses the login: {said}", "mend user and password in REDIS_URL")
    if isinstance(error, redis.exceptions.BusyLoadingError) or "LOADING" in said:
        return failure(
            "redis-loading", f"Redis reads its files and does not answer yet: {said}", "wait until it has read them"
        )
    return failure("redis-unreachable", f"Redis does not answer: {said}", broker_fix())
