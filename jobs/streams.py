"""Standard input, output and error of a process that has to go on, whatever becomes of them.

They may be closed from the start (`>&-`), a pipe whose reader has died, or a file on a full disk. Needs nothing but the
standard library, since it has to come before everything that opens a file.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from typing import Any

STDOUT, STDERR = 1, 2

closed: set[int] = set()
"""Those of the descriptors 0 to 2 that were closed when this process began."""


def open_all() -> None:
    """Open /dev/null on each of the descriptors 0 to 2 that is closed: else a socket or a database gets its number, and
    whatever a library or a program prints goes there."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            closed.add(number)
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
            os.set_inheritable(opened, True)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - for as long as the process
    sys.stdout = sys.stdout or open(STDOUT, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(STDERR, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115


def outlast(*numbers: int) -> None:
    """From here on nobody in this process fails by printing to stdout (1), stderr (2): what cannot be written is lost."""
    open_all()
    if STDOUT in numbers:
        sys.stdout = _lasting(sys.stdout, STDOUT)
    if STDERR in numbers:
        before, sys.stderr = sys.stderr, _lasting(sys.stderr, STDERR)
        for handler in logging.root.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is before:
                handler.setStream(sys.stderr)


class _Lossy(io.FileIO):
    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return len(data)


def _lasting(stream: Any, number: int) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.BufferedWriter(_Lossy(number, "w", closefd=False)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering or number == STDERR,
        write_through=stream.write_through,
    )
