"""Targets: what is compared with what, and which way is better."""

from __future__ import annotations

import pytest

from benchmarks.measures import MEASURES
from benchmarks.measures.growth import OPERATIONS, SIZES, case, operation_and_size
from benchmarks.peers import SYSTEMS
from benchmarks.runner import Figure
from benchmarks.targets import GROWN, TARGETS, Verdict, judge

OURS, ON_POSTGRESQL = "ours (SQLite)", "ours (PostgreSQL)"
KEPT, DROPPED = "bullmq (completed jobs kept)", "bullmq (completed jobs dropped)"


def verdict(words: str, *figures: Figure) -> Verdict:
    return next(found for found in judge(figures) if found.target.startswith(words))


def test_a_ratio_takes_medians_and_the_fastest_setting_of_the_peer() -> None:
    found = verdict(
        "drain, concurrency 10, SQLite",
        Figure("drain", "concurrency 10", OURS, [900, 5000, 1000]),
        Figure("drain", "concurrency 10", ON_POSTGRESQL, [9000]),
        Figure("drain", "concurrency 10", KEPT, [500, 500, 500]),
        Figure("drain", "concurrency 10", DROPPED, [1000, 1000, 1000]),
        Figure("drain", "concurrency 10", "bullmq-postgresql (completed jobs kept)", [4000]),
    )
    assert (found.figure, found.first, found.second) == ("1.00 ×", "≥ 0.6 ×: met", "≥ 1.2 ×: missed")


def test_celery_is_compared_where_its_results_are_in_the_same_database() -> None:
    found = verdict(
        "drain, concurrency 50, PostgreSQL: ours over celery",
        Figure("drain", "concurrency 50", ON_POSTGRESQL, [5000]),
        Figure("drain", "own setting", "celery (solo, no logs)", [5000]),
        Figure("drain", "own setting", "celery (solo, no logs, results in SQLite)", [2500]),
        Figure("drain", "own setting", "celery (prefork 2, results in PostgreSQL)", [250]),
    )
    assert (found.figure, found.first, found.second) == ("20.0 ×", "≥ 10 ×: met", "≥ 25 ×: missed")


@pytest.mark.parametrize(
    ("p50", "first", "second"), [(1.9, "met", "met"), (4.6, "met", "missed"), (5.1, "missed", "missed")]
)
def test_less_is_better_of_a_latency(p50: float, first: str, second: str) -> None:
    found = verdict("latency, p50, SQLite", Figure("latency", "p50", OURS, [p50]))
    assert (found.first, found.second) == (f"≤ 5 ms: {first}", f"≤ 2 ms: {second}")


def test_growth_is_judged_by_the_slowest_of_rates_and_times_alike() -> None:
    few, many = SIZES[0], SIZES[-1]
    pages = [
        figure
        for operation in GROWN["admin pages"]
        for figure in (
            Figure("growth", case(operation, few), OURS, [10.0]),
            Figure("growth", case(operation, many), OURS, [13.0 if operation == GROWN["admin pages"][1] else 10.0]),
        )
    ]
    rates = [
        Figure("growth", case("accept (jobs/s)", few), OURS, [1200]),
        Figure("growth", case("accept (jobs/s)", many), OURS, [1000]),
    ]
    slow_pages = verdict("admin pages, SQLite", *pages)
    slow_accept = verdict("accept, SQLite, 10,000", *rates)
    assert (slow_pages.figure, slow_pages.first) == ("1.30 ×", "≤ 1.25 ×: missed")
    assert (slow_accept.figure, slow_accept.first, slow_accept.second) == ("1.20 ×", "≤ 1.25 ×: met", "≤ 1.1 ×: missed")


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    gone = Figure("drain", "concurrency 10", DROPPED, skipped="no npm")
    found = verdict("drain, concurrency 10, SQLite", Figure("drain", "concurrency 10", OURS, [1000]), gone)
    assert (found.figure, found.first) == ("–", "≥ 0.6 ×: not measured")


def test_what_a_target_names_is_measured() -> None:
    """A case that was renamed would be "not measured" for ever."""
    figures = [
        Figure(name, label, system.name, [1.0])
        for name, measure in MEASURES.items()
        for cases in measure.cases
        for label in cases.names
        for system in SYSTEMS
        if system.takes_part(name, label)
    ]
    assert [found.target for found in judge(figures) if found.figure == "–"] == []
    assert len(judge(figures)) == len(TARGETS)


def test_the_name_of_a_grown_figure_tells_operation_and_size() -> None:
    assert [operation_and_size(case(name, 1_000_000)) for name in OPERATIONS] == [
        (name, 1_000_000) for name in OPERATIONS
    ]
