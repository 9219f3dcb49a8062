"""A control run and its summary: `python -m tests.chaos --system rq`, or `rq-retry`."""

from __future__ import annotations

import argparse
import sys
import time

from tests.chaos import summary
from tests.chaos.control.count import Verdict, count, count_slots, waits
from tests.chaos.control.nemesis import ControlNemesis, Onlooker
from tests.chaos.control.producer import Producer
from tests.chaos.control.site import EVERY_S, ControlSite
from tests.chaos.history import History
from tests.chaos.play import CLIENTS, chosen, play

RETRYING = "rq-retry"

DRAIN_S = 300.0
"""For what RQ gives up 90 s after its last sign of life, 60 s after it was first seen aside, or rq-scheduler's lock and look."""


def main(options: argparse.Namespace, lease_s: float) -> int:
    """Exit code 0 whatever was lost: RQ is not what is tested here."""
    site = ControlSite(lease_s)
    history = History(site.folder / "history.jsonl")
    sys.stdout.write(
        f"control run ({options.system}): plain RQ and rq-scheduler, seed {options.seed}, {options.minutes:g} minutes\n"
    )
    sys.stdout.flush()
    try:
        onlooker = Onlooker(site)
        onlooker.start()
        is_retrying = options.system == RETRYING
        producers = [
            Producer(site, history, f"client-{n}", f"{options.seed}/{n}", is_retrying=is_retrying)
            for n in range(CLIENTS)
        ]
        nemesis = ControlNemesis(site, history, f"{options.seed}/nemesis", chosen(options.faults))
        play(site, producers, nemesis, options.minutes)
        ended_at = time.time()
        drained_s = site.drain(max(DRAIN_S, options.drain))
        onlooker.stopping.set()
        onlooker.look()
        verdict = judge(site, history, onlooker.told, ended_at)
        sys.stdout.write("\n".join(_lines(history, verdict, drained_s, waits(history, site.lines("runs.log")))) + "\n")
    finally:
        site.close(is_kept=options.keep)
    return 0


def judge(site: ControlSite, history: History, told: set[str], ended_at: float) -> Verdict:
    slots = count_slots(site.schedules, EVERY_S, site.scheduled_at, ended_at, site.lines("slots.log"))
    return count(history, site.lines("runs.log"), site.lines("effects.log"), told, slots)


def _lines(history: History, found: Verdict, drained_s: float, waited: list[float]) -> list[str]:
    refused, unknown = len(history.of("fail")), len(history.of("info"))
    bound = 3 / found.accepted if found.accepted else 1.0
    return [
        *summary.faults(history),
        *summary.totals(history),
        f"passed over {len(history.of('passed over'))} faults that have no meaning for RQ",
        f"requests    {found.accepted} accepted, {refused} refused, {unknown} without an answer",
        f"waiting     p50 {summary.quantile(waited, 0.5):.2f} s, p95 {summary.quantile(waited, 0.95):.2f} s from acceptance"
        " to the first run",
        f"drain       {drained_s:.0f} s until nothing was left to run or to be told as failed",
        f"ended       {found.ended} accepted jobs were run to an end; {len(found.failed)} more were told as failed by a fault",
        f"lost        {len(found.lost)} accepted jobs were never run to an end, and nothing tells of them",
        f"doubled     {len(found.doubled)} of {found.effects} effects happened more than once,"
        f" {len(found.doubled_otherwise)} of them though no id had been pushed again",
        f"slots       {found.slots}: {found.slots_missing} missing, {found.slots_doubled} doubled",
        f"not working {found.not_recovered} times no new job was done within a minute of healing",
        f"bound       what happened to none of {found.accepted} has a rate below {bound:.1e} (95 % confidence)",
    ]
