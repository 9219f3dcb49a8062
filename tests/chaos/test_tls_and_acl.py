"""Managed Redis as it is run in earnest: TLS with a private CA, client certificates, a user that may do little else.

With Debian's redis-server: the embedded one speaks no TLS.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from jobs.models import Job
from tests.chaos.certificates import OPENSSL
from tests.support.eventually import eventually
from tests.support.processes import ROOT, free_port
from tests.support.world import World

SERVER = shutil.which("redis-server")
pytestmark = pytest.mark.skipif(not (SERVER and OPENSSL), reason="needs redis-server and openssl")

PASSWORD = "only-for-tests"
RULE = re.compile(r"^ACL SETUSER (jobs .*)$", re.MULTILINE)


def documented_rule() -> list[str]:
    """The rule as docs/operate.md has it, with this test's password."""
    (found,) = RULE.findall((ROOT / "docs" / "operate.md").read_text())
    return str(found).replace(">password", f">{PASSWORD}").split()


@dataclass
class Managed:
    port: int
    certificates: Path

    def url(self, *, ca: str = "ca", has_client: bool = True) -> str:
        options = f"ssl_ca_certs={self.certificates / ca}.crt"
        if has_client:
            options += f"&ssl_certfile={self.certificates}/client.crt&ssl_keyfile={self.certificates}/client.key"
        return f"rediss://jobs:{PASSWORD}@127.0.0.1:{self.port}/0?{options}"

    def root(self) -> redis.Redis:
        return redis.Redis(
            host="127.0.0.1", port=self.port, ssl=True, ssl_ca_certs=f"{self.certificates}/ca.crt",
            ssl_certfile=f"{self.certificates}/client.crt", ssl_keyfile=f"{self.certificates}/client.key",
        )  # fmt: skip


@pytest.fixture
def managed(world: World, certificates: Path, tmp_path: Path) -> Iterator[Managed]:
    port = free_port()
    options = {
        "port": "0", "tls-port": str(port), "tls-cert-file": f"{certificates}/server.crt", "save": "",
        "tls-key-file": f"{certificates}/server.key", "tls-ca-cert-file": f"{certificates}/ca.crt",
        "tls-auth-clients": "yes", "dir": str(tmp_path), "bind": "127.0.0.1",
    }  # fmt: skip
    arguments = [text for name, value in options.items() for text in (f"--{name}", value)]
    server = subprocess.Popen([str(SERVER), *arguments], stdout=subprocess.DEVNULL)
    found = Managed(port, certificates)
    try:
        eventually(lambda: _answers(found), timeout_s=10)
        found.root().execute_command("ACL", "SETUSER", *documented_rule())
        yield found
        world.stop()
    finally:
        server.terminate()
        server.wait(10)


def _answers(managed: Managed) -> bool:
    try:
        return bool(managed.root().ping())
    except (redis.RedisError, OSError):
        return False


def test_everything_runs_under_the_documented_user_with_a_client_certificate(world: World, managed: Managed) -> None:
    environment = {"REDIS_URL": managed.url()}
    api = world.serve(**environment)
    worker, scheduler = world.worker(**environment), world.scheduler(**environment)
    reply = world.call("POST", "/api/jobs", {"type": "echo", "payload": {"progressSteps": 3}, "delaySeconds": 1})
    assert reply.status == 202
    eventually(lambda: Job.objects.get(pk=reply.json()["id"]).status == "succeeded", timeout_s=20)
    assert world.call("GET", reply.json()["links"]["status"]).json()["status"] == "succeeded"
    assert managed.root().exists(f"jobs:status:{reply.json()['id']}", "jobs:beat") == 2
    probed = json.loads(world.ask("doctor", "--json", **environment).stdout)
    levels = {found["probe"]: found["level"] for found in probed["findings"]}
    assert levels["broker"] == "ok", probed
    eventually(lambda: managed.root().scard("rq:workers"), timeout_s=20)
    assert worker.stop() == 0
    for process in (api, worker, scheduler):
        assert not re.search("noperm|no permission|NoPermission", process.log, re.IGNORECASE), process.log
    denied = [entry for entry in managed.root().acl_log() if entry["username"] == "jobs"]
    assert denied == [], denied


@pytest.mark.parametrize(
    "command",
    [("FLUSHALL",), ("FLUSHDB",), ("CONFIG", "GET", "*"), ("KEYS", "*"), ("SHUTDOWN",), ("GET", "session:1"),
     ("SET", "other", "1"), ("PUBLISH", "other", "1"), ("ACL", "LIST"), ("REPLICAOF", "NO", "ONE")],
)  # fmt: skip
def test_the_documented_user_may_nothing_else(managed: Managed, command: tuple[str, ...]) -> None:
    with pytest.raises(redis.exceptions.NoPermissionError):
        redis.Redis.from_url(managed.url()).execute_command(*command)


@pytest.mark.parametrize(
    ("options", "word"),
    [({"ca": "stranger"}, "certificate"), ({"has_client": False}, "")],  # a server may just hang up on who has none
)
def test_a_wrong_ca_and_a_missing_client_certificate_are_refused(
    world: World, managed: Managed, options: dict[str, object], word: str
) -> None:
    url = managed.url(**options)  # type: ignore[arg-type]
    probed = json.loads(world.ask("doctor", "--json", REDIS_URL=url).stdout)
    (found,) = [found for found in probed["findings"] if found["probe"] == "broker"]
    assert found["level"] == "failure"
    assert word in found["sentence"], found
    world.worker(REDIS_URL=url)
    assert world.run("enqueue_system_job", "echo", "--wait", "20", REDIS_URL=url)[0] == 0  # by the database
