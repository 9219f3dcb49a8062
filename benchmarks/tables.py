"""The report: raw figures as JSON, and tables in Markdown between two markers of a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.measures import MEASURES
from benchmarks.measures.growth import operation_and_size, slowdown
from benchmarks.numbers import shown
from benchmarks.peers import SYSTEMS
from benchmarks.runner import Figure
from benchmarks.targets import judge

BEGIN, END = "<!-- figures of scripts/bench: begin -->", "<!-- figures of scripts/bench: end -->"


@dataclass(frozen=True)
class Report:
    machine: Mapping[str, str]
    runs: Mapping[str, Mapping[str, str]]
    """By the name of a measure: when and how its figures were taken."""

    figures: Sequence[Figure]

    def beside(self, older: Report) -> Report:
        """This one, with those of the older one's measures that it lacks, where the machine is the same."""
        if older.machine != self.machine:
            return self
        runs = {name: {**older.runs, **self.runs}[name] for name in MEASURES if name in {*older.runs, *self.runs}}
        by_measure = {name: self.figures if name in self.runs else older.figures for name in runs}
        figures = [figure for name, some in by_measure.items() for figure in some if figure.measure == name]
        return Report(self.machine, runs, figures)

    def dumped(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"


def loaded(text: str) -> Report:
    stored = json.loads(text)
    return Report(stored["machine"], stored["runs"], [Figure(**figure) for figure in stored["figures"]])


def render(report: Report) -> str:
    names = dict.fromkeys(figure.measure for figure in report.figures)
    parts = [_facts(report), *(_measure(name, report) for name in names), _persists(report), _targets(report)]
    return "\n\n".join(parts)


def write_into(page: Path, text: str) -> None:
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page} has lost its markers {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def _facts(report: Report) -> str:
    return f"Measured with {_listed(report.machine)}."


def _listed(facts: Mapping[str, str]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in facts.items())


def _measure(name: str, report: Report) -> str:
    measure, mine = MEASURES[name], [figure for figure in report.figures if figure.measure == name]
    head, rows = _growth(mine) if name == "growth" else _by_system(mine)
    rule = f"{measure.rule} ({_listed(report.runs[name])}.)"
    return f"### {measure.title} ({measure.unit})\n\n{rule}\n\n{_table(head, rows)}"


def _by_system(mine: Sequence[Figure]) -> tuple[list[str], list[list[str]]]:
    cases, systems = dict.fromkeys(f.case for f in mine), dict.fromkeys(f.system for f in mine)
    cells = {(figure.system, figure.case): _cell(figure) for figure in mine}
    rows = [[system, *(cells.get((system, case), "") for case in cases)] for system in systems]
    return ["", *cases], rows


def _growth(mine: Sequence[Figure]) -> tuple[list[str], list[list[str]]]:
    """A row an operation, a column a size; beside each figure how much slower it is than with the fewest jobs."""
    cells = {(figure.system, *operation_and_size(figure.case)): figure for figure in mine}
    sizes = sorted({size for _, _, size in cells})
    rows = []
    for system, operation in dict.fromkeys((system, operation) for system, operation, _ in cells):
        few, *more = (cells[system, operation, size] for size in sizes)
        rows.append([system, operation, _cell(few), *(_cell(many) + _slower(operation, few, many) for many in more)])
    return ["", "", *(f"{size:,} jobs" for size in sizes)], rows


def _slower(operation: str, few: Figure, many: Figure) -> str:
    return f" ({slowdown(operation, few.median, many.median):.2f} ×)" if few.median and many.median else ""


def _cell(figure: Figure) -> str:
    """The median; with more than one round also the lowest and the highest."""
    if figure.median is None:
        text = figure.beyond or f"skipped: {figure.skipped}"
        return text.replace("\n", " ").replace("|", "/")
    spread = f" ({shown(min(figure.rounds))}–{shown(max(figure.rounds))})" if len(figure.rounds) > 1 else ""
    return f"{shown(figure.median)}{spread}"


def _persists(report: Report) -> str:
    measured = {figure.system for figure in report.figures}
    rows = [[system.name, system.persists] for system in SYSTEMS if system.name in measured]
    return f"### What the measured work leaves behind\n\n{_table(['', 'kept'], rows)}"


def _targets(report: Report) -> str:
    rows = [[verdict.target, verdict.figure, verdict.first, verdict.second] for verdict in judge(report.figures)]
    return f"### Targets\n\n{_table(['', 'measured', 'must be', 'wished for'], rows)}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
