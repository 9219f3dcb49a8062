"""The nemesis of the control run: the same dice and the same faults, as far as there is something to break."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import redis

from tests.chaos import faults
from tests.chaos.control import tasks
from tests.chaos.control.site import FAILED, ControlSite
from tests.chaos.history import History
from tests.chaos.nemesis import PROBE_PATIENCE_S, Nemesis

WITHOUT_MEANING = frozenset({"kill api", "fail somewhere", "suspect wrongly", "lock database"})
"""RQ's API is its clients' own process; it has no fail-points, no leases and no database."""

PUSHED_AGAIN = 4
TIMES = 50
LOOK_S = 0.5


class ControlStage(faults.Stage):
    """RQ has no leases: whom a death left behind is counted at the end."""

    def lease_of(self, role: str) -> None:
        return None

    def await_repair(self, lease_id: str | None, what: str) -> None:
        return None


def push_fifty_times(stage: faults.Stage) -> None:
    ids = [entry["id"] for entry in stage.history.of("ok")[-PUSHED_AGAIN:]]
    stage.history.note("nemesis", "pushed", ids=ids)
    with stage.site.redis() as connection:
        for job_id in ids:
            connection.rpush("rq:queue:default", *[job_id] * TIMES)


class ControlNemesis(Nemesis):
    """A kind without meaning takes its turn and its dice, and does nothing: the kinds after it are the same."""

    stage = ControlStage

    def __init__(self, site: ControlSite, history: History, seed: str, only: tuple[str, ...] = ()) -> None:
        super().__init__(site, history, seed, only)
        self._control = site
        if "push fifty times" in self._kinds:
            self._kinds["push fifty times"] = push_fifty_times

    def _strike(self, kind: str, fault: Callable[[faults.Stage], None]) -> None:
        if kind in WITHOUT_MEANING:
            self.number += 1
            self.dice.random(), self.dice.random()
            self.history.note("nemesis", "passed over", fault=kind, number=self.number)
        else:
            super()._strike(kind, fault)

    def _probe(self, kind: str, number: int, healed: float) -> None:
        """How long after healing a new job at the front of the queue succeeds."""
        queue, connection = self._control.probe()
        job = None
        with connection:
            while time.monotonic() < healed + PROBE_PATIENCE_S:
                with contextlib.suppress(redis.RedisError):
                    job = job or queue.enqueue(tasks.chaos, at_front=True)
                    if job.get_status() == "finished":
                        took_s, is_alone = round(time.monotonic() - healed, 3), self.number == number
                        self.history.note(
                            "nemesis", "recovered", fault=kind, number=number, took=took_s, alone=is_alone
                        )
                        return
                self.site.ensure()
                time.sleep(0.02)
        self.history.note("nemesis", "not recovered", fault=kind, number=number)


class Onlooker(threading.Thread):
    """Keeps in mind which jobs RQ told as failed at any time: a later fault may take even that from it."""

    def __init__(self, site: ControlSite) -> None:
        super().__init__(name="onlooker", daemon=True)
        self.site, self.told = site, set[str]()
        self.stopping = threading.Event()

    def run(self) -> None:
        while not self.stopping.wait(LOOK_S):
            self.look()

    def look(self) -> None:
        """Past RQ's own functions: those do maintenance while they read."""
        with contextlib.suppress(redis.RedisError), self.site.redis() as connection:
            self.told |= {member.decode() for member in connection.zrange(FAILED, 0, -1)}
