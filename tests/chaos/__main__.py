"""`python -m tests.chaos --minutes 10 --seed 1 --database sqlite|postgres`: a fault run, and its summary."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.chaos.history import History
    from tests.chaos.site import Site

DRAIN_S = 120.0
QUIET_S = 6.0
"""Until then nothing but `succeeded` is believed of the mirror."""

LONG_MINUTES = 4
SHOWN = 5
SHOWN_CHARACTERS = 400


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", default="1", help="of all dice: the kinds, order and strength of faults and requests")
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument(
        "--system", choices=["ours", "rq", "rq-retry"], default="ours",
        help="rq: the control run, the same faults on plain RQ and rq-scheduler with their defaults; it counts what"
        " they lost and did twice; rq-retry: the same with Retry(max=3) for every job (--database and --mutant mean nothing there)",
    )  # fmt: skip
    parser.add_argument("--lease", type=float, help="seconds; default: 15, and 5 in runs of less than 4 minutes")
    parser.add_argument("--faults", default="", help="only these kinds, separated by commas")
    parser.add_argument(
        "--hostile", default="", help="only these kinds of hostile jobs, separated by commas; none: nothing hostile"
    )
    parser.add_argument("--mutant", default="", help="take out one safeguard: the checker must see it")
    parser.add_argument("--drain", type=float, default=DRAIN_S, help="seconds that jobs may take to end after healing")
    parser.add_argument("--keep", action="store_true", help="keep the folder: history, logs, database")
    options = parser.parse_args()
    lease_s = options.lease or (15.0 if options.minutes >= LONG_MINUTES else 5.0)

    from tests.chaos import site

    site.make(options.database, lease_s)
    import django

    django.setup()
    if options.system != "ours":
        from tests.chaos.control import run as control

        return control.main(options, lease_s)
    from tests.chaos.history import History

    found = site.Site(options.database, lease_s, options.mutant)
    history = History(found.folder / "history.jsonl")
    sys.stdout.write(f"seed {options.seed}, {options.database}, lease of {lease_s:g} s, {options.minutes:g} minutes\n")
    sys.stdout.flush()
    try:
        broken = _run(found, history, options)
        _print(found, history, broken)
    finally:
        found.close(is_kept=options.keep)
    return 1 if broken else 0


def _run(site: Site, history: History, options: argparse.Namespace) -> list[tuple[str, str]]:
    from tests.chaos import checker, hostile_faults, restore, watch
    from tests.chaos.clients import Client
    from tests.chaos.hostile.requests import KINDS, HostileClient
    from tests.chaos.nemesis import Nemesis
    from tests.chaos.play import CLIENTS, chosen, play

    clients = [Client(site, history, f"client-{n}", f"{options.seed}/{n}") for n in range(CLIENTS)]
    hostile = chosen(options.hostile) or KINDS
    clients.append(HostileClient(site, history, "stranger", f"{options.seed}/stranger", hostile))
    only = chosen(options.faults)
    kinds = hostile_faults.kinds(site.database)
    nemesis = Nemesis(site, history, f"{options.seed}/nemesis", only, kinds)
    site.on_end = lambda role, pid, code: history.note("harness", "ended", role=role, pid=pid, code=code)
    watcher = watch.Watcher(site, history)
    watcher.start()
    play(site, clients, nemesis, options.minutes)
    _drain(site, options.drain)
    site.heal()
    time.sleep(QUIET_S)
    history.note("harness", "quiet", commands=watch.commands_a_second(site, QUIET_S))
    watcher.stopping.set()
    watcher.join()
    broken = checker.violations(checker.gather(site, history))
    if not only or restore.NAME in only:
        broken += [("I24", words) for words in restore.violations(site)]
    return broken


def _drain(site: Site, patience_s: float) -> None:
    """No new slots, then wait until nothing is left to do."""
    from django.db import DatabaseError, connection

    from jobs.models import Job, Schedule

    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        site.ensure()
        try:
            Schedule.objects.update(enabled=False)
            if not Job.objects.filter(status__in=("scheduled", "queued", "running")).exists():
                time.sleep(1.5)  # a tick that had begun
                if not Job.objects.filter(status__in=("scheduled", "queued", "running")).exists():
                    return
        except DatabaseError:
            connection.close()
        time.sleep(0.2)


def _expiries() -> Counter[str]:
    """Why crashes were charged; numbers of processes left out."""
    from jobs.models import Event

    texts = Event.objects.filter(event="expire").values_list("error_text", flat=True)
    return Counter((text or "").strip().partition("\n")[0] for text in texts)


def _print(site: Site, history: History, broken: list[tuple[str, str]]) -> None:
    from jobs.models import Event, Job
    from tests.chaos import summary

    repaired = [entry["took"] for entry in history.of("repaired")]
    answered: Counter[Any] = Counter(entry["status"] for entry in [*history.of("ok"), *history.of("fail")])
    statuses: Counter[str] = Counter(Job.objects.values_list("status", flat=True))
    lines = [
        *summary.faults(history),
        f"jobs        {sum(statuses.values())}: " + ", ".join(f"{n} {name}" for name, n in statuses.most_common()),
        f"attempts    {Event.objects.filter(event='start').count()}, "
        f"{Event.objects.filter(event='expire').count()} expired, {Event.objects.filter(event='release').count()} released",
        *[f"            {count} expired: {why}" for why, count in _expiries().most_common(SHOWN)],
        f"requests    {sum(answered.values())} answered: " + ", ".join(f"{n} x {code}" for code, n in answered.most_common())
        + f"; {len(history.of('info'))} without an answer",
        *summary.totals(history),
        f"repair      of a dead worker's jobs: p50 {summary.quantile(repaired, 0.5):.2f} s, max {max(repaired, default=0):.2f} s"
        f" ({len(repaired)} times)",
        f"violations  {len(broken)}",
    ]  # fmt: skip
    by_law = {law: [words for name, words in broken if name == law] for law, _ in broken}
    for law, sentences in by_law.items():
        lines += [f"  {law}: {words[:SHOWN_CHARACTERS]}" for words in sentences[:SHOWN]]
        lines += [f"  {law}: and {len(sentences) - SHOWN} more"] if len(sentences) > SHOWN else []
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
