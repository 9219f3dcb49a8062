"""Lines of a group: each is what its logger would have said, and they are written together."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from jobs.lines import say_each
from jobsite.logs import Line


class CountedFlushes(io.StringIO):
    flushes = 0

    def flush(self) -> None:
        self.flushes += 1


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    log = logging.getLogger("lines-of-a-test")
    log.propagate = False
    log.setLevel(logging.INFO)
    yield log
    log.handlers.clear()


def test_each_message_is_a_line_and_all_of_them_are_one_write(log: logging.Logger) -> None:
    stream = CountedFlushes()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Line())
    log.addHandler(handler)

    say_each(log, logging.INFO, ["one", "two %s", "three"])

    lines = stream.getvalue().splitlines()
    assert [line.partition("Z ")[2] for line in lines] == [
        f"INFO    lines-of-a-test: {message}" for message in ("one", "two %s", "three")
    ]
    assert stream.flushes == 1


def test_a_handler_of_somebody_else_gets_a_record_each_and_its_filters_are_heeded(log: logging.Logger) -> None:
    handler = Kept()
    handler.addFilter(lambda record: record.getMessage() != "two")
    log.addHandler(handler)

    say_each(log, logging.WARNING, ["one", "two", "three"])

    assert [(record.levelname, record.getMessage()) for record in handler.records] == [
        ("WARNING", "one"), ("WARNING", "three"),
    ]  # fmt: skip


def test_what_nobody_wants_is_not_written(log: logging.Logger) -> None:
    stream = CountedFlushes()
    handler = logging.StreamHandler(stream)
    handler.setLevel(logging.ERROR)
    log.addHandler(handler)

    say_each(log, logging.INFO, ["one"])
    log.setLevel(logging.CRITICAL)
    say_each(log, logging.ERROR, ["two"])

    assert stream.getvalue() == ""


def test_a_line_begins_with_its_time_in_utc() -> None:
    record = logging.LogRecord("somebody", logging.INFO, __file__, 0, "a message", (), None)
    record.created, record.msecs = 1_000_000_000.25, 250.0
    assert Line().format(record) == "2001-09-09T01:46:40.250Z INFO    somebody: a message"


class Shouting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).upper()


@pytest.mark.parametrize(
    "formatter", [Shouting(), logging.Formatter("%(message)-9s|"), logging.Formatter("{message} !", style="{"), None]
)
def test_a_formatter_of_somebody_else_formats_each_message(
    log: logging.Logger, formatter: logging.Formatter | None
) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    log.addHandler(handler)
    say_each(log, logging.INFO, ["one", "two"])
    together = stream.getvalue()
    for message in ("one", "two"):
        log.info(message)
    assert stream.getvalue() == 2 * together
