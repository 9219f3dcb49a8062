"""Real processes: started with their output in a file, signalled, waited for, and never left behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.support.eventually import eventually

ROOT = Path(__file__).resolve().parent.parent.parent
PR_SET_PDEATHSIG = 1


class Process:
    """One `manage.py` command. Its standard output and error go to `log_path` together."""

    def __init__(
        self,
        arguments: list[str],
        environment: dict[str, str],
        log_path: Path,
        executable: list[str] | None = None,
        cwd: Path = ROOT,
    ):
        self.arguments = arguments
        self.log_path = log_path
        self.was_told = False
        """Whether it was asked to stop."""

        with log_path.open("ab") as log:
            self._popen = subprocess.Popen(
                [*(executable or [sys.executable, str(ROOT / "manage.py")]), *arguments],
                env=environment,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a group of its own, so that `destroy` reaches what it started
                preexec_fn=_die_with_parent,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    @property
    def is_alive(self) -> bool:
        return self._popen.poll() is None

    def children(self) -> list[int]:
        """Pids of the `manage.py` commands that it started itself."""
        pids = [int(pid) for path in Path(f"/proc/{self.pid}/task").glob("*/children") for pid in _read(path).split()]
        return sorted(pid for pid in pids if "manage.py" in _read(Path(f"/proc/{pid}/cmdline")))

    def send(self, signum: signal.Signals) -> None:
        self.was_told |= signum in (signal.SIGTERM, signal.SIGINT)
        self._popen.send_signal(signum)

    def wait(self, timeout_s: float = 40) -> int:
        """Its exit code. Negative: the signal that ended it."""
        return self._popen.wait(timeout=timeout_s)

    def stop(self, timeout_s: float = 40) -> int:
        """Ask it to stop (SIGTERM), and wait until it has."""
        self.send(signal.SIGTERM)
        return self.wait(timeout_s)

    def kill(self) -> None:
        """kill -9, of this process alone: what it started is on its own."""
        self.send(signal.SIGKILL)
        self.wait()

    def destroy(self) -> None:
        """Clean up: the whole group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()

    def says(self, text: str, timeout_s: float = 15) -> str:
        """Wait until its log contains the text, and return the log."""

        def check() -> bool:
            assert text in self.log or self.is_alive, f"{self.arguments} ended without saying {text!r}:\n{self.log}"
            assert text in self.log, f"{self.arguments} did not say {text!r}:\n{self.log}"
            return True

        eventually(check, timeout_s=timeout_s)
        return self.log


def _read(path: Path) -> str:
    """Empty when the process has gone."""
    try:
        return path.read_text()
    except OSError:
        return ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
