"""A client of a fault run that asks for hostile handlers."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from tests.chaos.clients import Client
from tests.chaos.history import History
from tests.chaos.hostile import exits, offspring, refused
from tests.chaos.site import Site

PACE_S = 1.0
DEADLY = ("chaos-exits", "chaos-exits-apart", "chaos-offspring", "chaos-offspring-apart")
"""Types whose attempts may take their process down."""


KINDS = ("refused", "rolled back", "flip", "exits", "offspring", "spoiler", "masks", "world", "programs")


def named(kind: Callable[[], Any]) -> str:
    return kind.__name__.strip("_").replace("_", " ")


class HostileClient(Client):
    """One actor with its own dice. It asks for nothing deadly while the site is to be calm."""

    pace_s = PACE_S

    def __init__(self, site: Site, history: History, name: str, seed: str, kinds: Collection[str]) -> None:
        super().__init__(site, history, name, seed)
        self._acts = {self._new: 90, self._again: 10}
        every: dict[Callable[[], tuple[str, dict[str, Any]]], int] = {
            self._refused: 20, self._rolled_back: 4, self._flip: 10, self._exits: 14, self._offspring: 16,
            self._spoiler: 12, self._masks: 4, self._world: 14, self._programs: 10,
        }  # fmt: skip
        self._kinds = {kind: weight for kind, weight in every.items() if named(kind) in kinds}

    def run(self) -> None:
        if self._kinds:
            super().run()

    def _body(self, key: str | None) -> dict[str, Any]:
        kinds = [
            kind for kind in self._kinds if not (self.site.calm.is_set() and kind in (self._exits, self._offspring))
        ]
        (kind,) = self.dice.choices(kinds, weights=[self._kinds[kind] for kind in kinds])
        return self._request(*kind(), key)

    def _request(self, name: str, payload: dict[str, Any], key: str | None) -> dict[str, Any]:
        body = {"type": name, "payload": payload, "queue": self.dice.choice(["default", "default", "low"])}
        return body if key is None else {**body, "idempotencyKey": key}

    def _apart(self, name: str) -> str:
        return f"{name}-apart" if self.dice.random() < 0.5 else name

    def _refused(self) -> tuple[str, dict[str, Any]]:
        return "chaos-refused", {"way": self.dice.choice(list(refused.WAYS))}

    def _rolled_back(self) -> tuple[str, dict[str, Any]]:
        return "chaos-rolled-back", {}

    def _flip(self) -> tuple[str, dict[str, Any]]:
        return "chaos-flip", {}

    def _exits(self) -> tuple[str, dict[str, Any]]:
        return self._apart("chaos-exits"), {"way": self.dice.choice([*exits.HARD, *exits.SOFT, exits.TELL])}

    def _offspring(self) -> tuple[str, dict[str, Any]]:
        ending = self.dice.choices(list(offspring.ENDINGS), weights=[4, 3, 3, 3, 1])[0]
        return self._apart("chaos-offspring"), {"way": self.dice.choice(list(offspring.WAYS)), "ending": ending}

    def _spoiler(self) -> tuple[str, dict[str, Any]]:
        return self._apart("chaos-spoiler"), {}

    def _masks(self) -> tuple[str, dict[str, Any]]:
        return "chaos-spoiler", {"mask": True}

    def _world(self) -> tuple[str, dict[str, Any]]:
        return self._apart("chaos-world"), {}

    def _programs(self) -> tuple[str, dict[str, Any]]:
        method = self.dice.choice(["", "fork", "fork", "spawn", "forkserver"])
        return self._apart("chaos-world"), {"program": True, "method": method}
