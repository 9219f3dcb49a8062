"""The command line of scripts/bench."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from benchmarks import load, machine, runner, tables
from benchmarks.measures import MEASURES, growth
from benchmarks.measures.base import Measure
from benchmarks.peers import SYSTEMS
from benchmarks.services import NotMeasured

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "benchmarks" / "results" / "latest.json"
PRODUCTS = tuple(dict.fromkeys(system.product for system in SYSTEMS if system.product != "ours"))
ROUNDS = 3
QUICK_ROUNDS = 1
INTERRUPTED = 130
LOADED_OVER_HTTP = frozenset({"accept", "status", "pipeline"})
EXAMPLES = """examples:
  scripts/bench                                      everything; rewrites the tables of docs/performance.md
  scripts/bench --quick --no-write                   one short round, printed only
  scripts/bench --only drain --peers bullmq          one measure, ours and one peer; the tables of the others stay
  scripts/bench --list                               what there is

Measure on a quiet machine. Ratios within one run mean something; figures of two machines do not compare."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.list:
        sys.stdout.write(_catalogue())
        return 0
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that processes end with this one
    systems = [system for system in SYSTEMS if system.product in ("ours", *options.peers)]
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    if options.dry_run:
        plan = [f"{rounds} round(s) of {', '.join(options.only)}:", *(f"  {system.name}" for system in systems)]
        sys.stdout.write("\n".join([*plan, ""]))
        return 0
    try:
        began = time.monotonic()
        facts, run = machine.describe(), machine.present() | _limit(options.only)
        figures = runner.run(_measures(options), systems, rounds, is_quick=options.quick)
    except KeyboardInterrupt:
        return INTERRUPTED
    run["rounds"] = str(rounds)
    run["length"] = "quick, which is shorter than the rule says" if options.quick else "full"
    run["took, with what else was measured"] = f"{(time.monotonic() - began) / 60:.0f} min"
    report = tables.Report(facts, dict.fromkeys(options.only, run), figures)
    if RESULTS.exists() and not options.no_write:
        report = report.beside(tables.loaded(RESULTS.read_text()))
    sys.stdout.write(tables.render(report) + "\n")
    if not options.no_write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(report.dumped())
        tables.write_into(PAGE, tables.render(report))
    return 0


def _limit(names: Collection[str]) -> dict[str, str]:
    """What no system can exceed where load comes over HTTP."""
    if not LOADED_OVER_HTTP & set(names):
        return {}
    try:
        return {"load generator against a constant answer": f"{load.limit():,.0f} requests/s"}
    except NotMeasured:
        return {}  # as each measure will say


def _measures(options: argparse.Namespace) -> dict[str, Measure]:
    most = options.growth_max or (growth.QUICK_MOST if options.quick else growth.SIZES[-1])
    known = {**MEASURES, "growth": growth.up_to(most)}
    return {name: known[name] for name in options.only}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure this project beside what people would use instead, in the same rounds.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="one round, of shorter measurements")
    parser.add_argument(
        "--rounds", type=_positive, help=f"how often each is measured (default {ROUNDS}; the median counts)"
    )
    parser.add_argument("--only", type=_NamesOf(MEASURES), default=list(MEASURES), metavar="MEASURE,…")
    parser.add_argument("--peers", type=_NamesOf(PRODUCTS), default=list(PRODUCTS), metavar="NAME,…")
    parser.add_argument(
        "--growth-max",
        type=_positive,
        metavar="JOBS",
        help=f"the most stored jobs that growth is measured with (default {growth.SIZES[-1]:,}, quick {growth.QUICK_MOST:,})",
    )
    parser.add_argument("--list", action="store_true", help="name measures and systems, and stop")
    parser.add_argument("--dry-run", action="store_true", help="say what would be measured, and stop")
    parser.add_argument("--no-write", action="store_true", help="print the tables, leave the files alone")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


class _NamesOf:
    """A list of names after commas, each of them known."""

    def __init__(self, known: Collection[str]) -> None:
        self._known = known

    def __call__(self, text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in self._known]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: known are {', '.join(self._known)}")
        return names


def _catalogue() -> str:
    measures = [f"  {name:<10} {measure.title} ({measure.unit})" for name, measure in MEASURES.items()]
    systems = [f"  {system.name}: {system.persists}" for system in SYSTEMS]
    return "\n".join(["measures", *measures, "systems", *systems, ""])


if __name__ == "__main__":
    sys.exit(main())
