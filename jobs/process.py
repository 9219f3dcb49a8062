"""What Linux offers to tie processes together and to tell whether one is alive.

On macOS (development only) there is no PDEATHSIG, no /proc and no timer that ends a stopped process:
there the functions do what they can, and nothing is promised.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

IS_LINUX = sys.platform == "linux"

PR_SET_PDEATHSIG = 1  # linux/prctl.h
CLOCK_BOOTTIME = 7  # linux/time.h; goes on while the machine sleeps, unlike CLOCK_MONOTONIC
TIMER_ABSTIME = 1  # linux/time.h
SIGEV_SIGNAL = 0  # asm-generic/siginfo.h

DRAINED, RECYCLE = 0, 75
"""Exit codes of a horse: all is done (stop or burst); please start another one (EX_TEMPFAIL of sysexits.h)."""


def die_with_parent(expected_parent: int) -> None:
    """Have the kernel kill this process (SIGKILL) when its parent dies.

    Call it in the main thread of a process that the parent's main thread started: the kernel looks at
    the thread that forked. Exits at once when the parent is gone already.
    """
    if IS_LINUX:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    else:
        _watch_parent(expected_parent)
    if os.getppid() != expected_parent:
        os._exit(1)


@contextlib.contextmanager
def hearing_of_children(call: Callable[[], None]) -> Iterator[None]:
    """`call` whenever a child of this process stops or ends, from a signal handler, and so only where the main thread
    asks for it; elsewhere one has to look."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGCHLD, lambda *_: call())
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)


def allow_blocking_in_event_loops() -> None:
    """Let an `async def` handler use effects and the ORM as they are.

    Django refuses them inside a running event loop because they would block it for others. Here each
    async handler has a thread, an event loop and a connection of its own: it blocks nobody but itself.
    """
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"


def _watch_parent(expected_parent: int) -> None:
    """The stand-in where the kernel does not help: looks twice a second."""

    def watch() -> None:
        while os.getppid() == expected_parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


@dataclass(frozen=True, slots=True)
class Place:
    """Where processes can see each other: same boot of the same kernel, same PID namespace."""

    boot_id: str
    pid_namespace: str


def place() -> Place:
    """Empty texts where the system does not tell; two empty places are not the same place."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot_id = file.read().strip()
        is_ours = os.readlink("/proc/self") == str(os.getpid())  # else it shows another PID namespace
        return Place(boot_id, os.readlink("/proc/self/ns/pid")) if is_ours else Place("", "")
    except OSError:
        return Place("", "")


def _stat(pid: int, thread: int = 0) -> list[str] | None:
    """The fields of /proc/<pid>/stat, or of a thread's, after the command, which may hold spaces; None: not there."""
    try:
        with open(f"/proc/{pid}/task/{thread}/stat" if thread else f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return None


def started(pid: int, thread: int = 0) -> int:
    """When the process, or a thread of it, started, in clock ticks since boot: with the pid, it names one process. 0: gone."""
    fields = _stat(pid, thread)
    return int(fields[19]) if fields else 0


def state(pid: int) -> str:
    """The kernel's letter: R, S, D, T (stopped), Z (dead, not reaped); '' when it is gone."""
    fields = _stat(pid)
    return fields[0] if fields else ""


def how_it_ended(exit_code: int | None) -> str:
    """Exit code or signal, in words."""
    if exit_code is None or exit_code >= 0:
        return f"exit code {exit_code}"
    return f"signal {signal_name(-exit_code)}"


def signal_name(number: int) -> str:
    """Its number where it has no name: most of the real-time ones."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def is_alive(pid: int, started_at: int) -> bool:
    """Whether that very process still runs; True where it may, since /proc can hide the processes of other users."""
    fields = _stat(pid)
    if fields is not None:
        return int(fields[19]) == started_at and fields[0] not in "ZX"
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return pid > 0


def has_one_thread() -> bool:
    """Whether this process may fork; threads of libraries count. False where the system does not tell."""
    fields = _stat(os.getpid())
    return fields is not None and int(fields[17]) == 1


def kill_orphans(pid: int, started_at: int) -> None:
    """Kill what is left of the process group of a leader that is dead (a horse leads one)."""
    fields = _stat(pid)
    if fields is None or int(fields[19]) == started_at:  # else another process has its pid by now
        kill_group(pid)


def kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def rss_mb(pid: int) -> int:
    """Resident memory in MiB; 0 when it is gone."""
    fields = _stat(pid)
    return int(fields[21]) * os.sysconf("SC_PAGE_SIZE") // 2**20 if fields else 0


def command() -> list[str]:
    """How to start another command of this project: through its manage.py where there is one."""
    script = Path(sys.argv[0])
    if script.name == "manage.py" and script.exists():
        return [sys.executable, str(script)]
    return [sys.executable, "-m", "django"]


class _Timespec(ctypes.Structure):
    _fields_ = [("sec", ctypes.c_long), ("nsec", ctypes.c_long)]


class _Itimerspec(ctypes.Structure):
    _fields_ = [("interval", _Timespec), ("value", _Timespec)]


class _Sigevent(ctypes.Structure):
    _fields_ = [
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("padding", ctypes.c_byte * 48),  # the struct has 64 bytes
    ]


class DeadMan:
    """A timer of the kernel that kills this process with SIGKILL unless it is re-armed in time.

    SIGKILL also ends a stopped process, and by PDEATHSIG its children, whatever they are doing; a
    SIGALRM would stay pending until SIGCONT.
    """

    def __init__(self) -> None:
        self._timer = ctypes.c_void_p()
        if not IS_LINUX:
            return
        self._libc = ctypes.CDLL(None, use_errno=True)
        event = _Sigevent(signo=signal.SIGKILL, notify=SIGEV_SIGNAL)
        if self._libc.timer_create(CLOCK_BOOTTIME, ctypes.byref(event), ctypes.byref(self._timer)) != 0:
            raise OSError(ctypes.get_errno(), "timer_create(CLOCK_BOOTTIME)")

    def arm(self, deadline_s: float) -> None:
        """Fire at that time of `boottime()`, unless armed anew before."""
        self._set(deadline_s)

    def disarm(self) -> None:
        self._set(0.0)

    def close(self) -> None:
        """Give the timer back: a user may have only so many."""
        if IS_LINUX:
            self._libc.timer_delete(self._timer)

    def _set(self, deadline_s: float) -> None:
        if not IS_LINUX:
            return
        value = _Itimerspec(value=_Timespec(int(deadline_s), int(deadline_s % 1 * 1e9)))
        if self._libc.timer_settime(self._timer, TIMER_ABSTIME, ctypes.byref(value), None) != 0:
            raise OSError(ctypes.get_errno(), "timer_settime")


def boottime() -> float:
    """Seconds since boot, sleep included."""
    return time.clock_gettime(CLOCK_BOOTTIME) if IS_LINUX else time.monotonic()


GARBAGE = 10_000
"""New objects after which the collector looks for garbage, instead of 700: a group of jobs or requests makes thousands."""


def spare_the_collector() -> None:
    """What is loaded by now stays: the collector need not look at it again each time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE)
