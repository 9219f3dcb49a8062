"""The nemesis: breaks one thing after another, chosen by its dice, and mends it again."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

from django.db import connections

from tests.chaos import faults
from tests.chaos.history import History
from tests.chaos.site import Site

PROBE_PATIENCE_S = 60.0


class Nemesis(threading.Thread):
    """Goes through all kinds of faults in a shuffled order, again and again, until told to stop."""

    stage: type[faults.Stage] = faults.Stage

    def __init__(
        self, site: Site, history: History, seed: str, only: tuple[str, ...] = (), kinds: faults.Kinds | None = None
    ) -> None:
        """`kinds`: faults by name; without them, those that have a meaning for other systems too."""
        super().__init__(name="nemesis", daemon=True)
        self.site, self.history, self.dice = site, history, random.Random(seed)
        self.stopping = threading.Event()
        self.number = 0
        self._kinds = faults.kinds(site.database) if kinds is None else kinds
        if only:
            self._kinds = {name: fault for name, fault in self._kinds.items() if name in only}

    def run(self) -> None:
        faults.take_snapshot(self.site)
        while self._kinds and not self.stopping.is_set():
            order = list(self._kinds)
            self.dice.shuffle(order)
            for kind in order:
                if self.stopping.wait(self.dice.uniform(0.3, 1.5)):
                    return
                self._strike(kind, self._kinds[kind])

    def _strike(self, kind: str, fault: Callable[[faults.Stage], None]) -> None:
        self.number += 1
        stage = self.stage(self.site, self.history, random.Random(self.dice.random()), self.number)
        self.history.note("nemesis", "break", fault=kind, number=self.number)
        try:
            fault(stage)
        except Exception as error:  # a process or server that is just not there: then this strike is void
            self.history.note("nemesis", "void", fault=kind, error=f"{type(error).__name__}: {error}"[:200])
        connections.close_all()  # the strike may have cut them
        self.site.heal()
        healed = self.history.note("nemesis", "heal", fault=kind, number=self.number)
        probe = threading.Thread(target=self._probe, args=(kind, self.number, healed), name="probe", daemon=True)
        probe.start()
        if self.dice.random() < 0.6:
            probe.join(PROBE_PATIENCE_S)

    def _probe(self, kind: str, number: int, healed: float) -> None:
        """How long after healing a new job of the most urgent queue succeeds."""
        body = {"type": "chaos", "payload": {}, "queue": "high", "idempotencyKey": f"probe-{number}"}
        job_id = None
        while time.monotonic() < healed + PROBE_PATIENCE_S:
            status = self._ask(body, job_id)
            if status is not None:
                job_id = status["id"]
                if status["status"] == "succeeded":
                    is_alone = self.number == number
                    took_s = round(time.monotonic() - healed, 3)
                    self.history.note("nemesis", "recovered", fault=kind, number=number, took=took_s, alone=is_alone)
                    return
            else:
                self.site.ensure()  # a fail-point may have acted late
            time.sleep(0.02)
        self.history.note("nemesis", "not recovered", fault=kind, number=number)

    def _ask(self, body: dict[str, Any], job_id: str | None) -> dict[str, Any] | None:
        try:
            if job_id is None:
                reply = self.site.call("POST", "/api/jobs", body, timeout_s=3)
            else:
                reply = self.site.call("GET", f"/api/jobs/{job_id}/status", timeout_s=3)
            return dict(reply.json()) if reply.status < 300 else None
        except Exception:
            return None
