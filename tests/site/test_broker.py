"""The embedded broker: one per data dir, whoever asks, private, and gone when told."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import redis

from jobs import process
from jobsite import broker
from tests.support.eventually import eventually
from tests.support.processes import ROOT


@pytest.fixture
def data_dir(tmp_path: Path):
    yield tmp_path
    broker.stop(tmp_path)


def test_of_many_concurrent_starts_one_starts_it(data_dir):
    barrier = threading.Barrier(6)
    outcomes: list[bool] = []

    def start() -> None:
        barrier.wait()
        outcomes.append(broker.start(data_dir))

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == [False] * 5 + [True]


def test_it_answers_at_its_url_and_keeps_every_write(data_dir):
    broker.start(data_dir)
    with redis.Redis.from_url(broker.url(data_dir)) as connection:
        assert connection.ping()
        assert connection.config_get("appendonly") == {"appendonly": "yes"}
        assert connection.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_a_stopped_broker_forgets_nothing(data_dir):
    broker.start(data_dir)
    with redis.Redis.from_url(broker.url(data_dir)) as connection:
        connection.set("name", "value")
    assert broker.stop(data_dir)
    assert not broker.is_running(data_dir)
    assert not broker.stop(data_dir)

    broker.start(data_dir)
    with redis.Redis.from_url(broker.url(data_dir)) as connection:
        assert connection.get("name") == b"value"


def test_a_server_that_cannot_start_is_said_at_once(data_dir):
    (broker.folder(data_dir)).mkdir(parents=True)
    (broker.folder(data_dir) / "appendonlydir").write_text("not a folder")
    began = time.monotonic()
    with pytest.raises(broker.BrokerError, match=r"valkey\.log"):
        broker.start(data_dir)
    assert time.monotonic() - began < broker.START_TIMEOUT_S


def test_whoever_stops_it_need_not_be_who_started_it(data_dir):
    code = f"from pathlib import Path; from jobsite import broker; broker.start(Path({str(data_dir)!r})); input()"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE) as starter:
        eventually(lambda: broker.is_running(data_dir))
        assert broker.stop(data_dir)
        assert starter.poll() is None
        starter.communicate(b"\n")


def test_a_broker_that_is_silent_is_stopped_all_the_same(data_dir):
    broker.start(data_dir)
    silent = broker.pid(data_dir)
    with redis.Redis.from_url(broker.url(data_dir)) as connection:
        connection.execute_command("CLIENT", "PAUSE", "60000", "ALL")

    assert broker.pid(data_dir) == silent
    assert broker.stop(data_dir)
    assert process.state(silent) in ("", "Z")
    assert broker.start(data_dir)


def test_a_broker_that_is_silent_gets_no_second_one_beside_it(data_dir, monkeypatch):
    monkeypatch.setattr(broker, "START_TIMEOUT_S", 0.1)
    broker.start(data_dir)
    silent = broker.pid(data_dir)
    os.kill(silent, signal.SIGSTOP)
    try:
        with pytest.raises(broker.BrokerError, match=f"process {silent}"):
            broker.start(data_dir)
    finally:
        os.kill(silent, signal.SIGCONT)
    assert not broker.start(data_dir)
    assert broker.pid(data_dir) == silent


def test_a_long_data_dir_still_gets_a_short_socket(tmp_path):
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    try:
        broker.start(deep)
        assert len(str(broker.socket_path(deep))) <= broker.SOCKET_PATH_MAX_BYTES
        assert stat.S_IMODE(broker.socket_path(deep).parent.stat().st_mode) == 0o700
        assert broker.is_running(deep)
    finally:
        broker.stop(deep)
        broker.socket_path(deep).parent.rmdir()


def test_nobody_else_can_read_its_files(data_dir):
    broker.start(data_dir)
    for path in broker.folder(data_dir).rglob("*"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_the_command_says_all_of_it_in_json_too(world):
    def ask(action: str) -> tuple[int, dict[str, object]]:
        done = world.ask("broker", action, "--json")
        return done.returncode, json.loads(done.stdout)

    pid = broker.pid(world.data_dir)
    code, found = ask("status")
    assert (code, found["running"], found["pid"]) == (0, True, pid)
    assert ask("url") == (0, {"url": broker.url(world.data_dir)})
    assert ask("start") == (0, {"running": True, "changed": False})
    assert ask("stop") == (0, {"running": False, "changed": True})
    code, found = ask("status")
    assert (code, found["running"], found["pid"]) == (1, False, None)
    assert ask("start") == (0, {"running": True, "changed": True})
