"""JobContext: what a handler is given, and all it needs to know of this system."""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any
from uuid import UUID

from jobs import effects
from jobs.conf import conf
from jobs.effects import Attempt, Effect, Probe, Terms
from jobs.errors import CancelRequested, EffectInTransaction
from jobs.interrupts import Slot
from jobs.models.clock import parse
from jobs.rows import Row
from jobs.sql import make_id
from jobs.texts import as_text, clean_text, finite

ErrorTypes = Sequence[type[BaseException]]

LINE_MAX = 8_192
"""Characters of one log line."""

MESSAGE_MAX = 500
"""Characters of the message of a progress."""


@dataclass(frozen=True, slots=True)
class Line:
    at: dt.datetime
    level: str
    message: str


class JobLog:
    """Lines that are kept with the job: `job.log("…")`, or `.debug .info .warning .error`, with %-arguments. What is
    given by name follows as `name=value`.

    They are written with the next commit of the worker, within about a second; a kill may cost the
    last ones. Of one attempt the first `log_max_lines` are kept. What cannot be formatted is kept as it can be read:
    no argument makes a line fail the handler.
    """

    def __init__(self, began_at: dt.datetime, since: float) -> None:
        """When the attempt began, by the database's clock and by `time.monotonic`: lines have the database's time."""
        self._began_at, self._since = began_at, since
        self._lock = threading.Lock()
        self._lines: list[Line] = []
        self._count = 0

    def __call__(self, message: object, *arguments: Any, **more: Any) -> None:
        self._add("info", message, arguments, more)

    info = __call__

    def debug(self, message: object, *arguments: Any, **more: Any) -> None:
        self._add("debug", message, arguments, more)

    def warning(self, message: object, *arguments: Any, **more: Any) -> None:
        self._add("warning", message, arguments, more)

    def error(self, message: object, *arguments: Any, **more: Any) -> None:
        self._add("error", message, arguments, more)

    def _add(self, level: str, message: object, arguments: tuple[Any, ...], more: dict[str, Any]) -> None:
        text = as_text(message, *arguments, limit=LINE_MAX)
        if more:
            text = clean_text(" ".join([text, *(f"{name}={as_text(more[name])}" for name in more)]), LINE_MAX)
        with self._lock:
            self._count += 1
            most = conf().log_max_lines
            if self._count == most + 1:
                level, text = "warning", f"only the first {most} lines of an attempt are kept"
            if self._count <= most + 1:
                at = self._began_at + dt.timedelta(seconds=time.monotonic() - self._since)
                self._lines.append(Line(at, level, text))

    def adopt(self, lines: Sequence[Line]) -> None:
        """Lines of the same attempt that were said, and counted, in another process."""
        with self._lock:
            self._lines += lines

    def take(self) -> list[Line]:
        """The lines since the last call."""
        with self._lock:
            lines, self._lines = self._lines, []
        return lines


def _of_row(name: str) -> Any:
    return property(attrgetter(f"_row.{name}"))


class JobContext:
    """One attempt of a job, as its handler sees it. Each job makes one: so what few handlers use is made when it is used."""

    type: str = _of_row("type")
    queue: str = _of_row("queue")
    client: str = _of_row("client")
    key: str | None = _of_row("key")
    attempt: int = _of_row("attempt")
    failures: int = _of_row("failures")
    crashes: int = _of_row("crashes")
    max_attempts: int = _of_row("max_attempts")

    slot: Slot
    token: object | None = None
    """Names the running handler to whoever wants to interrupt it, in its slot."""

    _cancelled = False
    _progress: dict[str, Any] | None = None
    _progress_number = 0
    _log: JobLog | None = None
    _fence: Attempt | None = None

    def __init__(self, row: Row, stopping: threading.Event) -> None:
        """`row` as it was claimed."""
        self._row = row
        self._stopping = stopping
        self.since = time.monotonic()
        self.has_effects = row.has_effects

    @property
    def id(self) -> UUID:
        return make_id(self._row.id.hex)

    # Made once, whichever of the handler's threads comes first:

    @property
    def log(self) -> JobLog:
        return self._log or self.__dict__.setdefault("_log", self._new_log())

    def _new_log(self) -> JobLog:
        return JobLog(parse(self._row.started_at) or dt.datetime.now(dt.UTC), self.since)

    @property
    def fence(self) -> Attempt:
        row = self._row
        assert row.lease_id is not None
        return self._fence or self.__dict__.setdefault(
            "_fence", Attempt(row.id, row.attempt, row.version, row.lease_id)
        )

    @property
    def should_stop(self) -> bool:
        """True once the worker is told to stop or the job's cancel was requested: return, or raise, soon."""
        return self._stopping.is_set() or self._cancelled

    @property
    def created_at(self) -> dt.datetime | None:
        return parse(self._row.created_at)

    @property
    def run_after(self) -> dt.datetime | None:
        """When it was to run, if that was not at once."""
        return parse(self._row.run_after)

    @property
    def tags(self) -> list[str]:
        """One query."""
        from jobs.models import JobTag

        return list(JobTag.objects.filter(job_id=self.id).order_by("id").values_list("tag", flat=True))

    def progress(self, current: float, total: float | None = None, message: str = "") -> None:
        """Tell pollers how far it is; kept with the outcome. Costs nothing here: the worker sends the latest.

        In place of a number that is not finite, or is not a number, stands the last one, and its text in the message.
        """
        last = self._progress or {"current": 0, "total": None}
        told, words = {}, []
        for name, value in (("current", current), ("total", total)):
            told[name] = finite(value)
            if told[name] is None and (name == "current" or value is not None):
                told[name] = last[name]
                words.append(f"{name}={as_text(value, limit=100)}")
        words.append(as_text(message, limit=MESSAGE_MAX))
        self._progress = {**told, "message": clean_text(" ".join(filter(None, words)), MESSAGE_MAX)}
        self._progress_number += 1

    def effect(
        self,
        name: str,
        *,
        on_doubt: str = "hold",
        probe: Probe | None = None,
        not_done_on: ErrorTypes | None = None,
        transactional: bool = False,
    ) -> contextlib.AbstractContextManager[Effect]:
        """A side effect that happens at most once: see `jobs.effects` and docs/handlers.md.

        `on_doubt`: hold (a person settles it), skip (taken as done), repeat (again, under the same key).
        `probe(key)` is asked first where there is one. `not_done_on` replaces the list of errors that
        prove that nothing was accepted. `transactional`: the effect is rows of our own database,
        committed together with its `done`.
        """
        terms = Terms(name, on_doubt, probe, effects.NOTHING_ACCEPTED if not_done_on is None else tuple(not_done_on))
        self.has_effects = True
        enter = effects.transactional_effect if transactional else effects.effect
        return enter(self.fence, self.slot, terms)

    # --- for the worker ---------------------------------------------------------------------------

    @property
    def refused(self) -> Sequence[EffectInTransaction]:
        """Effects that were refused inside a transaction, though the handler may have swallowed that."""
        return () if self._fence is None else self._fence.refused

    def begin(self, token: object, slot: Slot) -> None:
        """The handler runs from here on. A cancel that came before interrupts it now."""
        self.slot = slot
        self.token = token
        if self._cancelled:
            self.slot.interrupt(token, CancelRequested)

    @property
    def latest_progress(self) -> tuple[int, dict[str, Any] | None]:
        """(how often it was told, what was told last)."""
        return self._progress_number, self._progress

    def take_lines(self) -> Sequence[Line]:
        """What was logged since the last call."""
        return () if self._log is None else self._log.take()

    def adopt(self, lines: Sequence[Line], progress: tuple[int, dict[str, Any] | None]) -> None:
        """What the handler said in a process of its own."""
        if lines:
            self.log.adopt(lines)
        self._progress_number, self._progress = progress

    def cancel(self) -> None:
        """The job's cancel was requested: interrupt the handler, but not inside an effect."""
        if not self._cancelled:
            self._cancelled = True
            if self.token is not None:
                self.slot.interrupt(self.token, CancelRequested)

    @property
    def is_cancelled(self) -> bool:
        return self._cancelled
