"""docs/schedules.md: its table of slots is computed, and its example is declared as it stands."""

from __future__ import annotations

import datetime as dt
import re

import pytest

from jobs import cron, registry, schedules
from jobs.models import Schedule
from jobs.schedules.declared import withdraw
from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs/schedules.md"
ROWS = re.findall(r"^\| `([^`]+)` \| (\S+) \| (\d\S+) \| (\S+) (\S+) \|$", PAGE.read_text(), re.M)


def test_there_are_examples() -> None:
    assert len(ROWS) >= 9


@pytest.mark.parametrize(("expression", "zone", "after", "first", "second"), ROWS)
def test_each_example_has_the_slots_that_the_page_says(
    expression: str, zone: str, after: str, first: str, second: str
) -> None:
    found = cron.next_slots(expression, zone, dt.datetime.fromisoformat(after), 2)
    assert [cron.slot_text(slot) for slot in found] == [first, second]


@pytest.mark.django_db
def test_the_example_in_code_declares_its_schedule() -> None:
    (block,) = blocks(PAGE, "python")
    exec(compile(block.code, str(PAGE), "exec"), {"__name__": "example"})
    try:
        schedules.synchronise()
        row = Schedule.objects.get(name="nightly")
        assert (row.type, row.time_zone, row.overlap) == ("nightly-report", "Europe/Berlin", "buffer")
        assert schedules.in_words(row) == "At 02:00 (Europe/Berlin)"
    finally:
        withdraw("nightly")
        registry.unregister("nightly-report")
