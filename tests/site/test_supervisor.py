"""`up`'s children: prefixed, restarted, stopped together, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from jobs.process import state as process_state
from jobsite.supervisor import Child, Supervisor
from tests.support.eventually import eventually
from tests.support.processes import ROOT

LOOP = "import signal, time; print('began', flush=True)\nwhile True: time.sleep(1)"


class Stage:
    """A supervisor in a thread of its own, and what its children said."""

    def __init__(self, *children: Child) -> None:
        self.lines: list[tuple[str, str]] = []
        self.supervisor = Supervisor(children, dict(os.environ), lambda name, line: self.lines.append((name, line)))
        self.thread = threading.Thread(target=self.supervisor.run, daemon=True)
        self.thread.start()

    def said(self, name: str, text: str) -> int:
        return sum(1 for who, line in self.lines if who == name and text in line)

    def end(self) -> None:
        self.supervisor.stop()
        self.thread.join(timeout=20)
        assert not self.thread.is_alive()


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.fixture
def stages():
    made: list[Stage] = []

    def make(*children: Child) -> Stage:
        made.append(Stage(*children))
        return made[-1]

    yield make
    for stage in made:
        stage.end()


def test_each_line_is_told_with_the_name_of_its_child(stages):
    stage = stages(Child("one", python("print('hello')\n" + LOOP)), Child("two", python(LOOP)))
    eventually(lambda: ("one", "hello") in stage.lines and ("two", "began") in stage.lines)


def test_a_child_that_dies_starts_again(stages):
    stage = stages(Child("one", python(LOOP)))
    eventually(lambda: stage.said("one", "began"))
    os.kill(stage.supervisor.children[0].process.pid, signal.SIGKILL)
    eventually(lambda: stage.said("one", "began") == 2)
    assert stage.said("one", "ended (killed by SIGKILL); starts again") == 1


def test_a_child_that_cannot_start_is_tried_ever_less_often(stages):
    stage = stages(Child("one", python("raise SystemExit(3)")))
    eventually(lambda: stage.said("one", "exit code 3") == 2)
    assert stage.said("one", "again in 0.5 s")
    assert stage.said("one", "again in 1 s")


def test_a_restart_waits_for_the_warm_end_of_the_old_one(stages):
    code = (
        "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: (print('warm', flush=True), sys.exit()))\n" + LOOP
    )
    stage = stages(Child("one", python(code)))
    eventually(lambda: stage.said("one", "began"))
    stage.supervisor.restart()
    eventually(lambda: stage.said("one", "began") == 2)
    assert [line for _, line in stage.lines] == ["began", "warm", "began"]


def test_stopping_ends_every_child(stages):
    stage = stages(Child("one", python(LOOP)), Child("two", python(LOOP)))
    eventually(lambda: stage.said("one", "began") and stage.said("two", "began"))
    processes = [child.process for child in stage.supervisor.children]
    stage.end()
    assert [process.poll() for process in processes] == [-signal.SIGTERM] * 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties processes together")
def test_a_tethered_process_ends_with_its_starter():
    child = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from jobsite import tether; tether.hold()\n" + LOOP
    starter = (
        "import os, subprocess, sys; from jobsite import tether\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}], env={{**os.environ, **tether.environment()}}, stdout=subprocess.PIPE)\n"
        "child.stdout.readline(); print(child.pid, flush=True); child.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", starter], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        pid = int(process.stdout.readline())
        process.kill()
    eventually(lambda: process_state(pid) in ("", "Z"))
