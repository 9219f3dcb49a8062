"""Fail-points: named places where a test makes a process die, stop, fail or lose a reply. Never armed without DEBUG.

`JOBS_FAIL=name:nth:kill|stop|raise|sleep|drop`, several separated by commas. Each process counts its own
passages; the first one to reach the nth acts, and no other after it, whichever process that is: a file in
`<data dir>/failpoints/` says that it is done, and by whom. So what is restarted does not die again and again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from django.db import OperationalError

NAMES = (
    "submit.before_commit",
    "submit.after_commit",
    "push.before",
    "push.after",
    "claim.after_pop",
    "claim.after_commit",
    "run.start",
    "effect.after_reserve",
    "effect.before_done",
    "effect.after_done",
    "finish.before_commit",
    "finish.after_commit",
    "renew.before",
    "renew.after_commit",
    "expire.before_commit",
    "tick.before_insert",
    "tick.after_insert",
)
ACTIONS = ("kill", "stop", "raise", "sleep", "drop")

FOLDER = "failpoints"
"""In the data dir: one file for each point that acted, with the process id."""

SLEEP_S = 3.0
"""Long enough for others to overtake, shorter than a lease."""


class Provoked(RuntimeError):
    """What `raise` raises: an error that nobody expects."""


class Dropped(OperationalError, ConnectionError):
    """What `drop` raises: the connection broke here, whether it was the database's or Redis'."""


@dataclass(frozen=True, slots=True)
class Point:
    name: str
    nth: int
    action: str


def parse(text: str) -> tuple[Point, ...]:
    """The points of a `JOBS_FAIL`. Raises ValueError, in words."""
    points = []
    for part in text.replace(",", " ").split():
        name, _, rest = part.partition(":")
        nth, _, action = rest.partition(":")
        if name not in NAMES:
            raise ValueError(f"there is no fail-point {name!r}")
        if not nth.isdigit() or int(nth) < 1 or action not in ACTIONS:
            raise ValueError(f"{part!r} is not name:nth:{'|'.join(ACTIONS)}")
        points.append(Point(name, int(nth), action))
    return tuple(points)


@dataclass
class _Plan:
    points: dict[str, Point]
    folder: Path
    passages: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def passes(self, name: str) -> Point | None:
        """The point, when this is the passage at which it acts."""
        point = self.points.get(name)
        if point is None:
            return None
        with self.lock:
            self.passages[name] = self.passages.get(name, 0) + 1
            is_due = self.passages[name] >= point.nth
        return point if is_due and self._is_first(name) else None

    def _is_first(self, name: str) -> bool:
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(self.folder / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            os.write(descriptor, str(os.getpid()).encode())
            os.close(descriptor)
            return True
        return False


_plan: _Plan | None = None


def arm(points: tuple[Point, ...], data_dir: Path) -> None:
    """For this process, from now on; no points: none."""
    global _plan
    folder = data_dir / FOLDER
    if points:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _plan = _Plan({point.name: point for point in points}, folder) if points else None


def hit(name: str) -> None:
    """Pass the named place. Costs one look at a variable where nothing is armed."""
    if _plan is None:
        return
    point = _plan.passes(name)
    if point is not None:
        _act(point)


def _act(point: Point) -> None:
    match point.action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "sleep":
            time.sleep(SLEEP_S)
        case "raise":
            raise Provoked(f"fail-point {point.name}")
        case _:
            raise Dropped(f"fail-point {point.name}: the connection was lost")
