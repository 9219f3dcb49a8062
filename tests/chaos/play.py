"""The course of a fault run, whatever the system: clients ask, the nemesis breaks, all is healed, the clients end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos.clients import Client
    from tests.chaos.nemesis import Nemesis
    from tests.chaos.site import Site

CLIENTS = 4


def play(site: Site, clients: Sequence[Client], nemesis: Nemesis, minutes: float) -> None:
    """Afterwards every part of the system runs, and nobody asks for anything any more."""
    site.start_all()
    for actor in (*clients, nemesis):
        actor.start()
    time.sleep(minutes * 60)
    nemesis.stopping.set()
    nemesis.join(120)
    site.heal()
    for client in clients:
        client.stopping.set()
    for client in clients:
        client.join(30)
        client.finish()


def chosen(kinds: str) -> tuple[str, ...]:
    """Kinds of faults, separated by commas. Empty: all."""
    return tuple(kind.strip() for kind in kinds.split(",") if kind.strip())
