"""Rounds: who takes part, several figures of one run, and what ends a measurement for good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from benchmarks import runner, tables
from benchmarks.measures.base import Beyond, Measure
from benchmarks.measures.growth import case
from benchmarks.numbers import shown
from benchmarks.peers import SYSTEMS
from benchmarks.peers.base import System
from benchmarks.runner import Figure
from benchmarks.services import NotMeasured


@dataclass
class Steps:
    """Gives what it was given, one after the other."""

    names: Sequence[str]
    steps: list[Sequence[float | NotMeasured] | Exception]
    asked: list[str] = field(default_factory=list)

    def measured(self, system: System, is_quick: bool) -> Sequence[float | NotMeasured]:
        self.asked.append(system.name)
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step


def measured(steps: Steps, rounds: int, most_rounds: int | None = None) -> list[Figure]:
    measure = Measure("A measure", "ms", "A rule.", (steps,), most_rounds)
    return runner.run({"accept": measure}, [System("new", "only", "nothing")], rounds, is_quick=True)


def test_one_run_gives_several_figures_each_round() -> None:
    p50, p99 = measured(Steps(("p50", "p99"), [(1.0, 2.0), (3.0, 8.0), (2.0, 4.0)]), rounds=3)
    assert (p50.median, p99.median) == (2.0, 4.0)


def test_a_reason_in_place_of_a_figure_leaves_the_others() -> None:
    lost, kept = measured(Steps(("drain", "accept"), [(NotMeasured("no end"), 5.0)]), rounds=1)
    assert (lost.skipped, lost.median, kept.median) == ("no end", None, 5.0)


def test_a_measure_with_turns_of_its_own_is_asked_once() -> None:
    steps = Steps(("growth",), [(1.0,)])
    measured(steps, rounds=3, most_rounds=1)
    assert len(steps.asked) == 1


@pytest.mark.parametrize(("error", "shows"), [(NotMeasured("no npm"), "skipped: no npm"), (Beyond("> 90 s"), "> 90 s")])
def test_what_could_not_be_measured_is_not_tried_again(error: Exception, shows: str) -> None:
    steps = Steps(("kill -9",), [(1.0,), error])
    (figure,) = measured(steps, rounds=3)
    assert len(steps.asked) == 2
    assert figure.median is None
    assert tables._cell(figure) == shows


def test_a_system_without_part_in_a_measure_is_not_in_its_table() -> None:
    measure = Measure("Idle", "MB", "A rule.", (Steps(("memory",), []),))
    assert runner.run({"idle": measure}, [System("new", "only", "nothing")], 1, is_quick=True) == []


def test_the_table_of_growth_tells_how_much_slower_each_size_is() -> None:
    figures = [
        Figure("growth", case("accept (jobs/s)", 10_000), "ours (SQLite)", [2000]),
        Figure("growth", case("accept (jobs/s)", 1_000_000), "ours (SQLite)", [1600]),
        Figure("growth", case("admin list, first page (ms)", 10_000), "ours (SQLite)", [20]),
        Figure("growth", case("admin list, first page (ms)", 1_000_000), "ours (SQLite)", [21]),
    ]
    text = tables.render(tables.Report({}, {"growth": {}}, figures))
    assert "|  |  | 10,000 jobs | 1,000,000 jobs |" in text
    assert "| ours (SQLite) | accept (jobs/s) | 2,000 | 1,600 (1.25 ×) |" in text
    assert "| ours (SQLite) | admin list, first page (ms) | 20.0 | 21.0 (1.05 ×) |" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(12_345.6, "12,346"), (123.4, "123"), (12.34, "12.3"), (0.4216, "0.422"), (0.09999, "0.100"), (0, "0")],
)
def test_a_figure_is_written_by_the_digits_that_count(value: float, text: str) -> None:
    assert shown(value) == text


def test_of_each_product_without_an_api_one_setting_is_looked_at_where_speed_does_not_count() -> None:
    products = [system.product for system in SYSTEMS if system.takes_part("recovery", "kill -9")]
    others = [product for product in products if product != "ours"]
    assert len(others) == len(set(others))
    assert {"bullmq", "rq", "celery", "dramatiq", "huey", "procrastinate"} <= set(others)
