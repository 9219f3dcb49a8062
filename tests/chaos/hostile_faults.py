"""All kinds of faults of our system's run: those that other systems have as well, and those that only ours can meet."""

from __future__ import annotations

import datetime as dt
import os
import signal
import time

from tests.chaos import boxes, faults, garbage, rows
from tests.chaos.clocks import WrongClock
from tests.chaos.faults import Stage
from tests.support.eventually import eventually

WRONG_S = 3600
DELAY_S = 3


def signal_horse(stage: Stage) -> None:
    """Somebody tells horses to end; the worker goes on with another one."""
    role = stage.worker()
    horse = stage.site.horse(role)
    if horse is None:
        return
    number = stage.dice.choice([signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
    stage.history.note("nemesis", "signalled", role=role, pid=horse, signal=number.name)
    os.kill(horse, number)
    rows.others_go_on(stage, "signal horse")


def hold_replica(stage: Stage) -> None:
    """Replication stops for longer than a lease."""
    assert stage.site.replica is not None
    stage.site.replica.hold()
    try:
        time.sleep(stage.site.lease_s + 3)
    finally:
        stage.site.replica.go_on()


def set_api_clock_wrong(stage: Stage) -> None:
    """The API's machine is an hour wrong while it accepts jobs for later."""
    clock = WrongClock(f"api-{stage.number}")
    try:
        stage.site.processes["api"].destroy()
        stage.site.start("api", **clock.environment)
        eventually(stage.site.is_live, timeout_s=30)
        for offset_s in (WRONG_S, -WRONG_S):
            clock.set(offset_s)
            at = time.time() + DELAY_S
            run_at = dt.datetime.fromtimestamp(at, dt.UTC).isoformat()
            for when in ({"delaySeconds": DELAY_S}, {"runAt": run_at}):
                reply = stage.site.call("POST", "/api/jobs", {"type": "chaos", "payload": {}, **when})
                stage.history.note("nemesis", "due", id=reply.json()["id"], wall=at, offset=offset_s)
        time.sleep(1)
    finally:
        stage.site.processes["api"].destroy()
        stage.site.ensure()
        eventually(stage.site.is_live, timeout_s=30)


LOSSES = frozenset({"restart broker", "lose broker files", "restore snapshot", "flush", "delete keys", "large results"})
"""Faults after which Redis may be filled anew."""


def kinds(database: str) -> faults.Kinds:
    chosen = [*garbage.KINDS, *boxes.KINDS, *rows.ANYWHERE, signal_horse, hold_replica]
    if database == "sqlite":
        chosen += rows.ON_SQLITE
    else:
        chosen += [*rows.ON_POSTGRES, set_api_clock_wrong]
    if boxes.why_not():
        chosen.remove(boxes.containers)
    return faults.kinds(database) | faults.named(*chosen)


DATABASE_HELD = frozenset(faults.named(*rows.ON_SQLITE, *rows.ON_POSTGRES, *rows.ANYWHERE))
"""Faults in which somebody else's lock may keep the API from committing."""
