"""A handler whose one effect does, attempt by attempt, what the test has written down."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from jobs.context import JobContext
from jobs.lifecycle import Actor
from jobs.models import Effect, Job
from jobs.transitions import promote
from tests.records.conftest import Register
from tests.support import lives

Act = Callable[[Any], object]
"""What the block does with its handle; it may raise."""


class Script:
    def __init__(self, register: Register, acts: Sequence[Act], **options: Any) -> None:
        self.runs: list[int] = []
        """Attempts in which the block ran."""

        self.results: list[Any] = []
        """What each attempt that left the block well found in `effect.result`."""

        self.around: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
        """Makes what the handler enters before the effect."""

        self._acts = list(acts)
        self._options = options
        self.job_id = lives.submit(register(self._handle, max_attempts=options.pop("max_attempts", 5)))

    def _handle(self, job: JobContext, payload: Any) -> str:
        with self.around(), job.effect("send", **self._options) as effect:
            if effect.pending:
                self.runs.append(job.attempt)
                if self._acts:
                    self._acts.pop(0)(effect)
        self.results.append(effect.result)
        return "returned"

    def attempt(self) -> Job:
        """The next attempt, due or not."""
        promote([self.job_id], actor=Actor.OPERATOR, who="test")
        return lives.attempt(self.job_id)

    def die(self) -> Job:
        """An attempt whose process dies inside the block."""
        promote([self.job_id], actor=Actor.OPERATOR, who="test")
        claimed = lives.claim(self.job_id)
        begin(lives.context_of(claimed), self.runs, **self._options)
        assert claimed.row.lease_id is not None
        lives.expire(claimed.row.lease_id)
        return self.job

    @property
    def job(self) -> Job:
        return Job.objects.get(pk=self.job_id)

    @property
    def effect(self) -> Effect:
        return Effect.objects.get(job_id=self.job_id, name="send")


def begin(context: JobContext, runs: list[int], **options: Any) -> Any:
    """Enter the effect and never leave it; the context manager, so that it is not closed by itself."""
    manager = context.effect("send", **options)
    if manager.__enter__().pending:
        runs.append(context.attempt)
    lives.abandon(manager)
    return manager


def raising(error: BaseException) -> Act:
    def act(effect: Any) -> None:
        raise error.with_traceback(None)  # it may have been raised by another test

    return act


def giving(result: Any) -> Act:
    def act(effect: Any) -> None:
        effect.result = result

    return act


def effects_of(job_id: uuid.UUID) -> dict[str, str]:
    return dict(Effect.objects.filter(job_id=job_id).values_list("name", "status"))
