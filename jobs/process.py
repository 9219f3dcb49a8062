"""What Linux offers to tie processes together and to tell whether one is alive.

On macOS (development only) there is no PDEATHSIG, no /proc and no timer that ends a stopped process:
there the functions do what they can, and nothing is promised.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger("jobs.process")

IS_LINUX = sys.platform == "linux"

PR_SET_PDEATHSIG = 1  # linux/prctl.h
CLOCK_BOOTTIME = 7  # linux/time.h; goes on while the machine sleeps, unlike CLOCK_MONOTONIC
TIMER_ABSTIME = 1  # linux/time.h
SIGEV_SIGNAL = 0  # asm-generic/siginfo.h

PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER = 36, 37  # linux/prctl.h
WNOTHREAD = 0x20000000  # linux/wait.h, __WNOTHREAD: only children of the calling thread

HAS_CHILDREN = os.path.exists("/proc/thread-self/children")

MARK = "RUNS_UNDER_LEASE"
"""The environment variable of all programs that a horse's handlers start: the id of the horse's lease."""

KEEPER = "jobs_keeper"
"""The first word of the command line of a process that ends an attempt's processes by itself (`nursery.py`)."""

KEEPER_S = 1.0
"""Seconds that keepers have for that when their horse is dead. Killing a hundred processes takes some milliseconds."""

UNKILLABLE_S = 5.0
"""Seconds after which a process that SIGKILL does not end is left alone: it waits in the kernel, or is another user's."""


def die_with_parent(expected_parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel kill this process (or send that signal) when its parent dies.

    Call it in the main thread of a process that the parent's main thread started: the kernel looks at
    the thread that forked. Exits at once when the parent is gone already.
    """
    if IS_LINUX:
        _prctl(PR_SET_PDEATHSIG, number)
    else:
        _watch_parent(expected_parent)
    if os.getppid() != expected_parent:
        os._exit(1)


def _prctl(option: int, argument: Any) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, argument, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")


def adopt_orphans() -> None:
    """Become the parent of all descendants whose own parent ends, sessions of their own or not."""
    if IS_LINUX:
        _prctl(PR_SET_CHILD_SUBREAPER, 1)


def is_init() -> bool:
    """Whether orphans come to this process: the first one of a container, or one that was started as a subreaper."""
    if not IS_LINUX:
        return False
    is_subreaper = ctypes.c_int(0)
    _prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(is_subreaper))
    return os.getpid() == 1 or bool(is_subreaper.value)


def ignore(number: int, frame: object) -> None:
    """A signal handler that does nothing. Programs that are started from here have the default again: SIG_IGN they
    would inherit."""


def reset_signals() -> None:
    """Give programs and forks that are started from here the dispositions and the mask of a usual program.

    SIGINT does nothing here: Ctrl-C reaches the worker's parent, which decides. See `default_in_forks`.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    own = {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE}  # Python ignores the last, and `subprocess` resets it
    own |= {signal.SIGXFSZ} if hasattr(signal, "SIGXFSZ") else set()
    for number in signal.valid_signals() - own:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, ignore)


def default_in_forks() -> None:
    """Give forked children of handlers Python's own dispositions of SIGTERM and SIGINT: `Process.terminate()` shall end
    them, also in the moment in which they begin. Both are blocked until the dispositions are there."""
    ours = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    defaults: dict[signal.Signals, Any] = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    masks: dict[int, set[int]] = {}
    """Of the threads that fork just now."""

    def block() -> None:
        masks[threading.get_ident()] = set(signal.pthread_sigmask(signal.SIG_BLOCK, ours))

    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.pop(threading.get_ident(), set()))

    def reset() -> None:
        for number, handler in ours.items():
            if signal.getsignal(number) is handler:
                signal.signal(number, defaults[number])
        unblock()

    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=reset)


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


def kill_leftovers(lease_id: uuid.UUID, pid: int, started_at: int = 0) -> None:
    """Kill what a dead horse has left: its process group, and whatever else its handlers started.

    Programs carry the lease in their environment, in whatever session they are; forks in their command line. Keepers
    end their attempts by themselves and have some time for it. It is over when this returns, but for what is unkillable.
    """
    fields = _stat(pid)
    if fields is None or int(fields[19]) == started_at:  # else another process has its pid by now
        kill_group(pid)
    if not IS_LINUX:
        return
    marks = (f"{MARK}={lease_id}\0".encode(), f"--lease={lease_id}\0".encode())
    began = time.monotonic()
    while found := [(pid, line) for pid in _pids() if (line := _line_of_marked(pid, marks)) is not None]:
        past_s = time.monotonic() - began
        if past_s > KEEPER_S + UNKILLABLE_S:
            log.error("processes do not end: lease=%s pids=%s", lease_id, [pid for pid, _ in found])
            return
        for pid, line in found:
            if past_s > KEEPER_S or not line.startswith(KEEPER.encode()):
                kill(pid)
        time.sleep(0.005)


def _pids() -> list[int]:
    if not IS_LINUX:
        return []
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]


def _line_of_marked(pid: int, marks: tuple[bytes, bytes]) -> bytes | None:
    """The command line of a process that carries one of the marks. A process that has ended has neither."""
    in_environment, in_line = marks
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b" ", b"\0") + b"\0"
        is_marked = in_line in line or in_environment in Path(f"/proc/{pid}/environ").read_bytes() + b"\0"
    except OSError:  # gone, or another user's
        return None
    return line if is_marked else None


def has_children_of_thread() -> bool:
    """Whether the calling thread has started a process that was not waited for. One system call."""
    if not IS_LINUX:
        return False
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT | WNOTHREAD)
    except ChildProcessError:
        return False
    return True


def kill_children_of_thread() -> list[int]:
    """Kill what the calling thread has started, with all that stands below, and wait for it; what it was.

    Not the helpers of `multiprocessing`, which all threads share and which end with this process.
    """
    killed: list[int] = []
    until = time.monotonic() + UNKILLABLE_S
    while found := set(_children(os.getpid(), threading.get_native_id())) - _helpers():
        if time.monotonic() > until:
            log.error("processes do not end: pids=%s", sorted(found))
            break
        for pid in _stopped_tree(found):
            kill(pid)
        for pid in found:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        killed += [pid for pid in found if pid not in killed]
        time.sleep(0.001)
    return killed


def _stopped_tree(roots: set[int]) -> set[int]:
    """The processes below, and the roots themselves, stopped so that they start no others meanwhile."""
    tree: set[int] = set()
    fresh = roots
    while fresh:
        for pid in fresh:
            kill(pid, signal.SIGSTOP)
        tree |= fresh
        fresh = {child for pid in tree for child in _children(pid)} - tree
    return tree


def _helpers() -> set[int]:
    """What the standard library keeps for all threads, as far as it was started."""
    tracker = getattr(sys.modules.get("multiprocessing.resource_tracker"), "_resource_tracker", None)
    server = getattr(sys.modules.get("multiprocessing.forkserver"), "_forkserver", None)
    return {getattr(tracker, "_pid", None) or 0, getattr(server, "_forkserver_pid", None) or 0}


def children() -> list[int]:
    """The children of this process."""
    return _children(os.getpid())


def reap() -> dict[int, int]:
    """The children of this process that have ended, each with its status. For a process all of whose children are ours."""
    ended: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended.update([found])
    return ended


def _children(pid: int, thread: int | None = None) -> list[int]:
    """Of a process, or of one of its threads."""
    if not HAS_CHILDREN:  # a kernel without CONFIG_PROC_CHILDREN tells nothing of threads
        return [] if thread else [one for one in _pids() if (fields := _stat(one)) and int(fields[1]) == pid]
    try:
        threads = os.listdir(f"/proc/{pid}/task") if thread is None else [thread]
        return [int(child) for one in threads for child in Path(f"/proc/{pid}/task/{one}/children").read_text().split()]
    except OSError:
        return []


def kill_children() -> None:
    """Kill all children of this process, and those that it adopts when they end, until there are none.

    For a process with one thread that adopts orphans. A resource tracker of `multiprocessing` has a moment to remove
    what its users have left: it ends when they have.
    """
    began = time.monotonic()
    while True:
        reap()
        past_s = time.monotonic() - began
        found = children()
        if not found or past_s > KEEPER_S + UNKILLABLE_S:
            return
        for pid in found:
            if past_s > KEEPER_S or not _is_tracker(pid):
                kill(pid)
        time.sleep(0.001)


def _is_tracker(pid: int) -> bool:
    try:
        return b"multiprocessing.resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Send the signal, unless the process is gone or another user's."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def rss_mb(pid: int) -> int:
    """Resident memory in MiB; 0 when it is gone."""
    fields = _stat(pid)
    return int(fields[21]) * os.sysconf("SC_PAGE_SIZE") // 2**20 if fields else 0


PASSED_ON = {getattr(signal, f"SIG{name}") for name in ("HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "CONT", "WINCH")}
"""Signals that a container's first process passes on to the one that does the work."""


def leave_init() -> None:
    """Go on in a child; this process stays to reap orphans, passes signals on, and ends as the child does."""
    if not has_one_thread():
        log.warning("this is the first process of its container and has threads already: orphans are not reaped")
        return
    sys.stdout.flush()
    sys.stderr.flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON | {signal.SIGCHLD})
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        die_with_parent(parent)
        os.setsid()  # Ctrl-C at a terminal reaches the first process, and comes once
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    _reap_until(child)


def _reap_until(child: int) -> None:
    while True:
        number = signal.sigwait(PASSED_ON | {signal.SIGCHLD})
        if number != signal.SIGCHLD:
            kill(child, signal.Signals(number))
            continue
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)  # the child is there until it ends this
            if pid == child:
                exit_code = os.waitstatus_to_exitcode(status)
                os._exit(exit_code if exit_code >= 0 else 128 - exit_code)
            if pid == 0:
                break


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
