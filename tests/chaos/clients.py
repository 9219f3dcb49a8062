"""Clients of a fault run: they ask for jobs, ask again when they got no answer, and write down what they heard."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from http.client import HTTPException
from typing import Any

from tests.chaos.history import History
from tests.chaos.site import Site

PACE_S = 0.12
"""Pause between two requests of one client, at the median."""


class Client(threading.Thread):
    """One actor with its own dice; `finish` asks until nothing is unanswered."""

    pace_s = PACE_S

    def __init__(self, site: Site, history: History, name: str, seed: str) -> None:
        super().__init__(name=name, daemon=True)
        self.site, self.history, self.dice = site, history, random.Random(seed)
        self.stopping = threading.Event()
        self.count = 0
        self.unanswered: dict[str, dict[str, Any]] = {}
        """Requests with a key that nobody has answered yet, by key."""

        self.known: list[tuple[dict[str, Any], str]] = []
        """(body, id) of accepted requests with a key."""

        self._acts: dict[Callable[[], None], int] = {
            self._new: 50, self._again: 10, self._conflict: 4, self._replay: 8, self._batch: 2, self._without_key: 4,
            self._cancel: 3, self._rerun: 3, self._look: 8,
        }  # fmt: skip

    def run(self) -> None:
        while not self.stopping.wait(self.pace_s * self.dice.uniform(0.5, 1.5)):
            (act,) = self.dice.choices(list(self._acts), weights=list(self._acts.values()))
            act()

    def finish(self, timeout_s: float = 60) -> None:
        """After healing: every request with a key gets its answer."""
        deadline = time.monotonic() + timeout_s
        while self.unanswered and time.monotonic() < deadline:
            self._again()
            time.sleep(0.01)

    # --- what a client does -----------------------------------------------------------------------

    def _new(self) -> None:
        self._submit(self._body(self._key()))

    def _without_key(self) -> None:
        self._submit(self._body(None))

    def _again(self) -> None:
        if self.unanswered:
            self._submit(self.unanswered[self.dice.choice(list(self.unanswered))])

    def _replay(self) -> None:
        if self.known:
            self._submit(self.dice.choice(self.known)[0])

    def _conflict(self) -> None:
        if self.known:
            body = self.dice.choice(self.known)[0]
            self._ask("conflict", "POST", "/api/jobs", {**body, "tags": ["another"]}, key=body["idempotencyKey"])

    def _batch(self) -> None:
        bodies = [self._body(self._key()) for _ in range(5)]
        self.unanswered |= {body["idempotencyKey"]: body for body in bodies}
        answer = self._ask("batch", "POST", "/api/jobs/batch", {"jobs": bodies})
        for body, item in zip(bodies, (answer or {}).get("items", []), strict=False):
            if item["status"] in (200, 202):
                self._accepted(body, item["job"]["id"])

    def _cancel(self) -> None:
        self._act_on("cancel")

    def _rerun(self) -> None:
        self._act_on("retry")

    def _look(self) -> None:
        if self.known:
            job_id = self.dice.choice(self.known[-50:])[1]
            self._ask("status", "GET", f"/api/jobs/{job_id}/status", None)

    def _act_on(self, what: str) -> None:
        if self.known:
            job_id = self.dice.choice(self.known[-30:])[1]
            self._ask(what, "POST", f"/api/jobs/{job_id}/{what}", {})

    # --- requests ---------------------------------------------------------------------------------

    def _key(self) -> str:
        self.count += 1
        return f"{self.name}-{self.count}"

    def _body(self, key: str | None) -> dict[str, Any]:
        dice, number = self.dice, self.dice.randrange(1000)
        payload: dict[str, Any] = {"number": number}
        body: dict[str, Any] = {"type": "chaos", "payload": payload}
        match dice.randrange(10):
            case 0 | 1:
                payload["effect"] = dice.choice(["hold", "skip", "repeat"])
                payload["effect_seconds"] = dice.choice([0, 0.1, 0.8])
            case 2:
                payload["effect"] = "transactional"
            case 3 | 8 | 9:
                payload["seconds"] = dice.choice([0.2, 1.0, 2.5])
            case 4:
                payload["fail_times"] = dice.choice([1, 2])
            case 5:
                body["delaySeconds"] = dice.choice([0.3, 1.5, 4])
            case 6:
                body |= {"type": "echo", "payload": {"value": number, "effect": "act", "onDoubt": "hold"}}
        if dice.random() < 0.2:
            body["queue"] = dice.choice(["high", "low"])
        return body if key is None else {**body, "idempotencyKey": key}

    def _submit(self, body: dict[str, Any]) -> None:
        key = body.get("idempotencyKey")
        if key is not None and all(known[0] is not body for known in self.known[-1:]):
            self.unanswered.setdefault(key, body)
        answer = self._ask("submit", "POST", "/api/jobs", body, key=key)
        if answer is not None and key is not None:
            self._accepted(body, answer["id"])

    def _accepted(self, body: dict[str, Any], job_id: str) -> None:
        if self.unanswered.pop(body["idempotencyKey"], None) is not None:
            self.known.append((body, job_id))

    def _ask(self, what: str, method: str, path: str, body: Any, key: str | None = None) -> dict[str, Any] | None:
        """The document of a good answer. Everything goes into the history; no answer: it may have happened."""
        began = self.history.note(self.name, "invoke", op=what, key=key)
        try:
            reply = self.site.call(method, path, body)
            document = reply.json()
        except (OSError, HTTPException, ValueError) as error:
            self.history.note(self.name, "info", op=what, key=key, began=began, error=type(error).__name__)
            return None
        kind = "ok" if reply.status < 400 else "fail"
        facts = {"id": document.get("id"), "job_status": document.get("status")} if kind == "ok" else {}
        if kind == "ok" and what == "submit" and "delaySeconds" in body:
            facts["delay_s"] = body["delaySeconds"]
        if what == "batch" and kind == "ok":
            good = [item["job"] for item in document["items"] if item["status"] in (200, 202)]
            facts["accepted"] = [(job["idempotencyKey"], job["id"]) for job in good]
        self.history.note(self.name, kind, op=what, key=key, began=began, status=reply.status, **facts)
        return document if kind == "ok" else None
