"""`doctor` does with Redis what workers do: each way in which a server that answers may fail them has its name and its fix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from jobs.doctor import broker
from tests.support.processes import free_port
from tests.support.redis_server import redis_server

Findings = list[dict[str, str]]


def probe(url: str) -> Findings:
    """What the probe finds on that server, reached as the system reaches its own: without retries."""
    with redis.Redis.from_url(url, socket_timeout=2, retry=Retry(NoBackoff(), 0)) as client:
        found = [finding.as_dict() for finding in broker.look(client)]
    assert all(finding["fix"] for finding in found if finding["level"] != "ok"), found
    return found


def names(found: Findings) -> set[str]:
    return {finding["name"] for finding in found}


def test_a_server_that_does_all_of_it_is_well_and_nothing_is_left_on_it(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        (found,) = probe(server.url())
        assert (found["name"], found["level"]) == ("ok", "ok")
        assert server.client().keys("*") == []


def test_a_cluster_is_named_though_it_answers(tmp_path: Path) -> None:
    with redis_server(tmp_path, "cluster-enabled yes", f"cluster-port {free_port()}") as server:
        (found,) = probe(server.url())
    assert (found["name"], found["level"]) == ("redis-cluster", "failure")


def test_a_full_one_is_named_and_so_is_one_that_is_nearly_full(tmp_path: Path) -> None:
    with redis_server(tmp_path, "maxmemory 1", "maxmemory-policy noeviction") as server:
        found = probe(server.url())
        assert {"redis-full", "redis-nearly-full"} <= names(found)
        server.client().config_set("maxmemory", 0)
        server.client().set("jobs:filler", b"x" * 20_000_000)
        used = int(server.client().info("memory")["used_memory"])  # type: ignore[index]
        server.client().config_set("maxmemory", used + used // 20)
        found = probe(server.url())
        assert names(found) == {"redis-nearly-full"}, found
        assert {finding["level"] for finding in found} == {"warning"}


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_one_that_evicts_is_named(tmp_path: Path, policy: str) -> None:
    with redis_server(tmp_path, f"maxmemory-policy {policy}") as server:
        (found,) = probe(server.url())
    assert (found["name"], found["level"]) == ("redis-evicts", "warning")
    assert policy in found["sentence"]


def test_a_replica_is_named(tmp_path: Path) -> None:
    with redis_server(tmp_path) as primary, redis_server(tmp_path, f"replicaof 127.0.0.1 {primary.port}") as replica:
        found = probe(replica.url())
    assert "redis-replica" in names(found)


RULE = "~rq:* ~jobs:* ~:1:* &rq:* +@all -@dangerous -@admin +info"


@pytest.mark.parametrize(
    ("rule", "finding", "words"),
    [
        (RULE, "ok", ""),
        ("~jobs:* &rq:* +@all", "redis-rights", "rq:queue:*"),
        ("~rq:* &rq:* +@all", "redis-rights", "jobs:*"),
        ("~rq:queue:* ~rq:job:* ~jobs:* ~rq:queues ~rq:suspended &rq:* +@all", "redis-rights", "rq:workers"),
        (f"{RULE} -@scripting", "redis-rights", "script"),
        (f"{RULE} -evalsha", "redis-rights", "script"),
        (f"{RULE} resetchannels &other:*", "redis-rights", "rq:pubsub:*"),
        (f"{RULE} -@write", "redis-rights", "rq:queue:*"),
        ("%R~rq:* %R~jobs:* &rq:* +@all", "redis-rights", "rq:job:*"),
        (f"{RULE} -info", "redis-info", "INFO"),
    ],
)
def test_what_the_user_may_not_do_is_named(tmp_path: Path, rule: str, finding: str, words: str) -> None:
    with redis_server(
        tmp_path, f"user jobs on >secret resetkeys resetchannels {rule}", "user default on nopass ~* &* +@all"
    ) as server:
        found = probe(server.url("jobs:secret"))
        assert finding in names(found), found
        assert words in " ".join(one["sentence"] for one in found)
        assert [key for key in server.client().keys("*") if b"doctor" in key] == []


def test_a_wrong_password_is_named(tmp_path: Path) -> None:
    with redis_server(tmp_path, "requirepass right") as server:
        assert names(probe(server.url(":wrong"))) == {"redis-login"}
        assert names(probe(server.url())) == {"redis-login"}
        (found,) = probe(server.url(":right"))
        assert found["level"] == "ok"
        assert "wrong" not in json.dumps(found)


def test_a_database_number_that_is_not_there_is_named(tmp_path: Path) -> None:
    with redis_server(tmp_path, "databases 2") as server:
        (found,) = probe(server.url(database=7))
    assert found["level"] == "failure"
    assert "DB index is out of range" in found["sentence"]


def test_commands_that_are_switched_off_are_named(tmp_path: Path) -> None:
    with redis_server(tmp_path, 'rename-command EVAL ""', 'rename-command EVALSHA ""') as server:
        assert names(probe(server.url())) == {"redis-commands"}


def test_one_that_refuses_writes_for_want_of_replicas_is_named(tmp_path: Path) -> None:
    with redis_server(tmp_path, "min-replicas-to-write 1") as server:
        assert names(probe(server.url())) == {"redis-few-replicas"}


def test_strangers_keys_in_the_same_database_number_are_counted_and_not_shown(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        server.client().mset({"session:alice": 1, "rq:job:mine": 1, ":1:cached": 1})
        (found,) = probe(server.url())
        assert (found["name"], found["level"]) == ("redis-shared", "warning")
        assert "1 of 3" in found["sentence"]
        assert "alice" not in json.dumps(found)


def test_workers_that_were_suspended_are_named(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        server.client().set("rq:suspended", 1)
        assert names(probe(server.url())) == {"suspended"}


def test_a_slow_one_is_told_from_one_that_is_away(tmp_path: Path, settings) -> None:
    settings.JOBS_BROKER_BUDGET_S = 0.000001
    with redis_server(tmp_path) as server:
        found = probe(server.url())
        assert "redis-slow" in names(found)
    assert names(probe(f"redis://127.0.0.1:{free_port()}/0")) == {"redis-unreachable"}


def test_one_that_hangs_costs_a_few_seconds(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        server.client().execute_command("CLIENT", "PAUSE", "60000", "ALL")
        (found,) = probe(server.url())
    assert found["name"] == "redis-unreachable"
