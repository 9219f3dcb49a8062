"""Handlers that end their process, leave others behind, or look at the world they run in; each plain and isolated."""

from __future__ import annotations

import _thread
import concurrent.futures
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from django.db import transaction

from jobs import Backoff, JobContext, handler
from jobs.models import QueueState

SOON = Backoff(base_s=0.1, cap_s=0.2)


def both(name: str) -> Any:
    """Register a handler as `name` and, in a process of its own, as `name-apart`."""

    def register(function: Any) -> Any:
        handler(f"{name}-apart", isolate=True, backoff=SOON)(function)
        return handler(name, backoff=SOON)(function)

    return register


def _append(path: str, word: object) -> None:
    with open(path, "a") as ledger:
        ledger.write(f"{word}\n")


@both("test-end")
def end(job: JobContext, payload: dict[str, Any]) -> str:
    """End this process, by whatever way there is."""
    _append(payload["ledger"], job.attempt)
    how = payload["how"]
    if how in ("0", "75"):
        os._exit(int(how))
    elif how == "abort":
        os.abort()
    elif how == "exec":
        os.execv("/bin/sleep", ["sleep", "600"])
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "close":
        os.closerange(3, 4096)
        time.sleep(600)
    elif how == "forked answer":
        if os.fork() == 0:
            time.sleep(0.5)
            return "the child"
        os._exit(0)
    elif how == "terminate and raise":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.5)
        raise ValueError("after a signal of my own")
    elif how == "terminate and sleep":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(600)
    elif how == "harmless":
        threading.Thread(target=sys.exit).start()
        _thread.interrupt_main()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.5)
    return "went on"


PROGRAM = "echo $$ >> {0}; while [ -e {0} ]; do sleep 0.05; done"


def _leave(how: str, pids: str) -> None:
    """Start a program that notes its process id and goes on."""
    program = ["sh", "-c", PROGRAM.format(pids)]
    if how == "child":
        subprocess.Popen(program)
    elif how == "grandchild":
        subprocess.Popen(["sh", "-c", f"{PROGRAM.format(pids)} & wait"])
    elif how == "session":
        subprocess.Popen(program, start_new_session=True)
    elif how == "orphan":
        subprocess.run(["sh", "-c", f"setsid nohup sh -c '{PROGRAM.format(pids)}' >&- 2>&- &"], check=True)
    elif how == "clean":
        subprocess.run(["sh", "-c", f"env -i setsid sh -c '{PROGRAM.format(pids)}' >&- 2>&- &"], check=True)
    elif how == "fork":
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                _append(pids, os.getpid())
                time.sleep(600)
            os._exit(0)
        os.wait()
    elif how == "thread":
        thread = threading.Thread(target=_leave, args=("child", pids))
        thread.start()
        thread.join()
    while not (Path(pids).exists() and Path(pids).read_text()):  # the shell makes the file before it writes into it
        time.sleep(0.01)


@both("test-leave")
def leave(job: JobContext, payload: dict[str, Any]) -> str:
    """Leave a program behind, the first time, and end."""
    if job.attempt == 1 or payload.get("always"):
        _leave(payload["leave"], payload["pids"])
        if payload["end"] == "raise":
            raise ValueError("with a program left behind")
        if payload["end"] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        while payload["end"] == "wait":
            time.sleep(0.02)
    return "left"


@both("test-world")
def world(job: JobContext, payload: dict[str, Any]) -> dict[str, Any]:
    """What a handler, and a program that it starts, find when they begin."""
    os.umask(mask := os.umask(0))
    status = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout
    facts = dict(line.split(":\t") for line in status.splitlines() if ":\t" in line)
    files = subprocess.run(["ls", "/proc/self/fd"], capture_output=True, text=True, check=True).stdout.split()
    main = sys.modules["__main__"]
    return {
        "folder": os.getcwd(),
        "mask": mask,
        "input": os.readlink("/proc/self/fd/0"),
        "arguments": sys.argv[:1],
        "path": sys.path,
        "main": getattr(main, "__file__", None),
        "environment": {name: value for name, value in os.environ.items() if name != "LC_CTYPE"},
        "method": multiprocessing.get_start_method(allow_none=True),
        "daemon": multiprocessing.current_process().daemon,
        "name": multiprocessing.current_process().name,
        "ignored": facts["SigIgn"],
        "blocked": facts["SigBlk"],
        "files of a program": len(files),
        "recursion": sys.getrecursionlimit(),
        "timer": signal.getitimer(signal.ITIMER_REAL)[0],
    }


@both("test-signal-program")
def signal_program(job: JobContext, payload: dict[str, Any]) -> int:
    """Start a program and tell it to end; what ended it."""
    child = subprocess.Popen(["sleep", "60"])
    child.send_signal(payload["signal"])
    return child.wait(30)


@both("test-multiprocessing")
def use_multiprocessing(job: JobContext, payload: dict[str, Any]) -> list[Any]:
    """Use `multiprocessing` as its manual shows it."""
    context: Any = multiprocessing.get_context(payload["method"])
    with context.Pool(2) as pool:
        numbers = pool.map(abs, [-1, -2])
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        number = executor.submit(abs, -9).result(30)
    sleeper = context.Process(target=time.sleep, args=(600,))
    sleeper.start()
    sleeper.terminate()
    sleeper.join(30)
    queue = context.Queue()
    queue.put(1)
    return [*numbers, number, sleeper.exitcode, queue.get(timeout=30)]


@both("test-random")
def draw(job: JobContext, payload: dict[str, Any]) -> float:
    """Draw a number."""
    return random.random()


@handler("test-orphan")
def orphan(job: JobContext, payload: dict[str, Any]) -> None:
    """Leave a process to whoever adopts it; it ends soon."""
    subprocess.run(["sh", "-c", "setsid sleep 0.05 & exit 0"], check=True)


@handler("test-thread-holds")
def leave_a_transaction(job: JobContext, payload: dict[str, Any]) -> None:
    """Leave a thread that has written and keeps its transaction open."""
    has_written = threading.Event()

    def hold() -> None:
        with transaction.atomic():
            QueueState.objects.filter(name="none").update(paused_by="")
            has_written.set()
            time.sleep(600)

    threading.Thread(target=hold, daemon=True, name="left-over").start()
    has_written.wait()


@handler("test-disturb")
def disturb(job: JobContext, payload: dict[str, Any]) -> str:
    """Change what belongs to the whole process."""
    os.chdir("/")
    os.umask(0o777)
    os.environ["LEFT_BEHIND"] = "yes"
    sys.path.insert(0, "/left-behind")
    sys.argv.append("left-behind")
    return "disturbed"
