"""What is asked often costs the same, however many jobs there are."""

from __future__ import annotations

import pytest
from django.db import connection

from tests.plans.cost import Cost, Statement

pytestmark = pytest.mark.django_db

Costs = dict[str, tuple[Cost, Cost]]

TIMES, MORE = 2, {"postgresql": 150, "sqlite": 300}
"""What a statement may cost with eight times as many jobs: twice as much, and pages or steps of a chunk."""

ONE_QUEUE = "all open jobs of the status and queue are read and sorted"
NO_STATISTICS = "SQLite, without statistics, looks through the client's jobs for what is rare"
TAGGED = "all jobs with the tag are read and sorted"

GROWING = {
    "postgresql": {
        "list, status and queue, for alice": ONE_QUEUE,
        "list, status and queue, for root": ONE_QUEUE,
    },
    "sqlite": {
        "list, status and queue, for alice": NO_STATISTICS,
        "list, status and queue, for root": ONE_QUEUE,
        "list, rare status, for alice": NO_STATISTICS,
        "list, rare type, for alice": NO_STATISTICS,
        "list, rare tag, for alice": NO_STATISTICS,
        "list, tag, for root": TAGGED,
        "admin, search for a tag": TAGGED,
    },
}
"""What does not keep to it, by what it reads. Nothing of it is done by the system itself."""


def test_more_jobs_make_nothing_dearer_that_is_asked_often(costs: Costs) -> None:
    assert _growing(costs) <= GROWING[connection.vendor].keys()


def test_no_plan_reads_a_large_table_from_end_to_end(costs: Costs) -> None:
    assert [sql for _, many in costs.values() for sql in many.scanned] == []


def test_nothing_counts_all_rows_of_a_large_table(costs: Costs) -> None:
    counts = {statement.sql for _, many in costs.values() for statement in many.statements if "COUNT(" in statement.sql}
    assert [sql for sql in counts if "LIMIT" not in sql and "jobs_job" in sql] == []


def _growing(costs: Costs) -> set[str]:
    return {name for name, (few, many) in costs.items() if any(map(_is_dearer, few.statements, many.statements))}


def _is_dearer(few: Statement, many: Statement) -> bool:
    return many.amount > TIMES * few.amount + MORE[connection.vendor]
