"""A process that ends with the one that started it, even when that one is killed.

The starter adds `environment()` to the child's; the child calls `hold` first thing. So nothing has to
run between fork and exec, which is unsafe in a process that has threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

VARIABLE = "ENDS_WITH_PROCESS"
PR_SET_PDEATHSIG = 1


def environment(signum: signal.Signals = signal.SIGTERM) -> dict[str, str]:
    """For a child of the calling process. Start it from a thread that lives as long as the process:
    the kernel watches that thread."""
    return {VARIABLE: f"{os.getpid()}:{signum.value}"}


def hold() -> None:
    """Ask the kernel for the signal; end at once when the starter has gone already."""
    stated = os.environ.pop(VARIABLE, "")
    if not stated or sys.platform != "linux":
        return
    starter, signum = (int(part) for part in stated.split(":"))
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signum)
    if os.getppid() != starter:
        sys.exit(f"The process {starter} that started this one has gone.")
