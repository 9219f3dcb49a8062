"""Clients of the control run: they put jobs into RQ's queue themselves, and write down which ones it took."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import redis
from rq import Queue, Retry
from rq_scheduler import Scheduler

from tests.chaos.clients import Client
from tests.chaos.control import tasks
from tests.chaos.control.site import ControlSite
from tests.chaos.history import History


class Producer(Client):
    """The same dice, the same jobs. RQ knows no keys and answers no requests: what got no answer is not asked again, since
    that would be another job."""

    def __init__(self, site: ControlSite, history: History, name: str, seed: str, *, is_retrying: bool = False) -> None:
        """`is_retrying`: every job put into the queue has a `Retry`, not only those that are known to fail."""
        super().__init__(site, history, name, seed)
        self._is_retrying = is_retrying
        connection = site.client()
        self.queue = Queue(connection=connection)
        self.scheduler = Scheduler(connection=connection)

    def finish(self, timeout_s: float = 60) -> None:
        """Nothing to ask for again."""

    def _again(self) -> None:
        """Would be another job."""

    def _replay(self) -> None:
        """Would be another job."""

    def _ask(self, what: str, method: str, path: str, body: Any, key: str | None = None) -> dict[str, Any] | None:
        if what == "submit":
            return self.offer(body)
        if what == "batch":
            jobs = [self.offer(one) for one in body["jobs"]]
            return {"items": [{"status": 202 if job else 503, "job": job} for job in jobs]}
        return None

    def offer(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """The accepted job. What an exception leaves open may have been taken."""
        asked = _arguments(body)
        began = self.history.note(self.name, "invoke", op="submit", key=body.get("idempotencyKey"))
        try:
            job_id = self._enqueue(asked, body.get("delaySeconds"))
        except redis.RedisError as error:
            kind = "fail" if isinstance(error, redis.ResponseError) else "info"
            self.history.note(self.name, kind, op="submit", began=began, error=type(error).__name__)
            return None
        self.history.note(self.name, "ok", op="submit", began=began, id=job_id, effect=asked.get("effect", ""))
        return {"id": job_id, "idempotencyKey": body.get("idempotencyKey")}

    def _enqueue(self, asked: dict[str, Any], delay_s: float | None) -> str:
        if delay_s is not None:
            return str(self.scheduler.enqueue_in(timedelta(seconds=delay_s), tasks.chaos, **asked).id)
        retry = Retry(max=tasks.RETRIES) if self._is_retrying or asked.get("fail_times") else None
        return str(self.queue.enqueue(tasks.chaos, kwargs=asked, retry=retry).id)


def _arguments(body: dict[str, Any]) -> dict[str, Any]:
    """What the task gets. `echo` with an effect is the same as `chaos` with one."""
    payload: dict[str, Any] = body["payload"]
    return {"effect": payload["onDoubt"]} if body["type"] == "echo" else payload
