"""A primary, a replica and three Sentinels, with Debian's redis-server and redis-sentinel."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis

from tests.support.eventually import eventually
from tests.support.processes import free_port

SERVER, SENTINEL = shutil.which("redis-server"), shutil.which("redis-sentinel")
SERVICE = "myJobs"
DOWN_AFTER_MS = 1000
PASSWORD, SENTINEL_PASSWORD = "only-for-tests", "only-for-these-tests"
REPLICATION = "replication"
"""The user as which a replica reads: without it nothing more is replicated."""


class Topology:
    """With `certificates`, everything speaks TLS, and wants a password."""

    def __init__(self, folder: Path, certificates: Path | None = None) -> None:
        self._folder, self._certificates = folder, certificates
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self.primary, self.replica, *self.sentinels = (free_port() for _ in range(5))

    # --- as a client sees it ----------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinels)
        found = {"REDIS_SENTINELS": hosts, "REDIS_SENTINEL_SERVICE": SERVICE, "REDIS_URL": ""}
        if self._certificates:
            query = f"?ssl_ca_certs={self._certificates}/ca.crt"
            found["REDIS_SENTINELS"] = f"rediss://:{SENTINEL_PASSWORD}@{hosts}{query}"
            found["REDIS_URL"] = f"rediss://:{PASSWORD}@primary/0{query}"
        return found

    def redis(self, port: int) -> redis.Redis:
        options: dict[str, Any] = {"socket_timeout": 5}
        if self._certificates:
            password = SENTINEL_PASSWORD if port in self.sentinels else PASSWORD
            options |= {"password": password, "ssl": True, "ssl_ca_certs": f"{self._certificates}/ca.crt"}
        return redis.Redis(host="127.0.0.1", port=port, **options)

    def primary_by_sentinels(self) -> set[int]:
        """What they say now, each for itself."""
        found = set()
        for port in self.sentinels:
            with self.redis(port) as connection:
                address: Any = connection.sentinel_get_master_addr_by_name(SERVICE)
                found.add(int(address[1]))
        return found

    # --- faults -----------------------------------------------------------------------------------------

    def cut_replication(self) -> None:
        """What is written from now on is on the primary alone."""
        with self.redis(self.primary) as connection:
            connection.execute_command("ACL", "SETUSER", REPLICATION, "off")
            connection.execute_command("CLIENT", "KILL", "TYPE", "replica")

    def kill(self, port: int) -> None:
        process = self._processes.pop(port)
        process.send_signal(signal.SIGKILL)
        process.wait()

    # --- processes --------------------------------------------------------------------------------------

    def start(self) -> None:
        self.start_server(self.primary)
        self.start_server(self.replica, primary=self.primary)
        eventually(lambda: self.redis(self.replica).info()["master_link_status"] == "up", timeout_s=10)
        for port in self.sentinels:
            self._start_sentinel(port)
        eventually(self._is_complete, timeout_s=20)

    def start_server(self, port: int, primary: int | None = None) -> None:
        folder = self._folder / str(port)
        folder.mkdir(exist_ok=True)
        lines = [
            *self._listening(port), f"dir {folder}", 'save ""', "repl-diskless-sync-delay 0",
            f"masteruser {REPLICATION}", f"masterauth {PASSWORD}",
            f"user {REPLICATION} on >{PASSWORD} +psync +replconf +ping",
        ]  # fmt: skip
        if self._certificates:
            lines.append(f"requirepass {PASSWORD}")
        if primary is not None:
            lines.append(f"replicaof 127.0.0.1 {primary}")
        self._spawn(port, SERVER, folder / "redis.conf", lines)

    def stop(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()

    def _start_sentinel(self, port: int) -> None:
        folder = self._folder / str(port)
        folder.mkdir()
        lines = [
            *self._listening(port), f"dir {folder}",
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.primary} 2",
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {SERVICE} 5000",
        ]  # fmt: skip
        if self._certificates:
            lines += [f"requirepass {SENTINEL_PASSWORD}", f"sentinel auth-pass {SERVICE} {PASSWORD}"]
        self._spawn(port, SENTINEL, folder / "sentinel.conf", lines)

    def _listening(self, port: int) -> list[str]:
        if self._certificates is None:
            return [f"port {port}", "bind 127.0.0.1"]
        at = self._certificates
        return [
            "port 0", f"tls-port {port}", "bind 127.0.0.1", "tls-replication yes", "tls-auth-clients no",
            f"tls-ca-cert-file {at}/ca.crt", f"tls-cert-file {at}/server.crt", f"tls-key-file {at}/server.key",
        ]  # fmt: skip

    def _spawn(self, port: int, program: str | None, path: Path, lines: list[str]) -> None:
        path.write_text("\n".join(lines) + "\n")
        with (path.parent / "log").open("ab") as log:
            self._processes[port] = subprocess.Popen([str(program), str(path)], stdout=log, stderr=log)
        eventually(lambda: self._answers(port), timeout_s=10)

    def _answers(self, port: int) -> bool:
        with contextlib.suppress(redis.RedisError), self.redis(port) as connection:
            return bool(connection.ping())
        return False

    def _is_complete(self) -> bool:
        """Each Sentinel knows the replica, as one in step, and the two others."""
        for port in self.sentinels:
            with self.redis(port) as connection:
                (state,) = (found for name, found in connection.sentinel_masters().items() if name == SERVICE)
                replicas: Any = connection.sentinel_slaves(SERVICE)
                assert state["num-other-sentinels"] == 2, state
                assert [one["master-link-status"] for one in replicas] == ["ok"], replicas
        return True


@contextlib.contextmanager
def running(folder: Path, certificates: Path | None = None) -> Iterator[Topology]:
    topology = Topology(folder, certificates)
    try:
        topology.start()
        yield topology
    finally:
        topology.stop()
