"""What a handler says by `job.log` and `job.progress` is kept in some form, and never fails the handler."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import math
import pickle
import threading
import time
from typing import Any

import pytest

from jobs.context import LINE_MAX, JobContext, JobLog
from jobs.errors import SoftTimeout
from jobs.interrupts import Slot
from jobs.models import Job
from tests.records.conftest import Register
from tests.support import lives


def new_log() -> JobLog:
    return JobLog(dt.datetime.now(dt.UTC), time.monotonic())


class Evil:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __str__(self) -> str:
        raise self.error

    __repr__ = __str__
    __float__ = __int__ = __index__ = __format__ = __str__  # type: ignore[assignment]


class Odd(str):
    """Text of the handler's own class, which another process could not read."""

    def __mod__(self, other: object) -> Any:
        raise SystemExit("formatted")

    def replace(self, *_: Any) -> str:  # type: ignore[override]
        raise SystemExit("cleaned")


class NoText(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise SystemExit("named")


class Nameless(Evil, metaclass=NoText):
    pass


EVILS = [ValueError("evil"), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), RecursionError(), MemoryError()]

SAID: list[tuple[Any, tuple[Any, ...]]] = [
    ("sent %d letters", ("three",)),
    ("sent %s", ("a", "b")),
    ("sent %s and %s", ("a",)),
    ("100 %", (1,)),
    ("%(name)s", (1,)),
    ("%d", (10**5000,)),
    ("%d", (math.nan,)),
    ("%s", (10**5000,)),
    ("%c", (2**40,)),
    ("\ud800\x00 %s", ("\udfff",)),
    (b"bytes %s", (b"\xff",)),
    (None, ()),
    (None, (None,)),
    ({1: 2}, ({3: 4},)),
    (Odd("odd %s"), ("x",)),
    (Odd("odd"), ()),
    *[(Evil(error), ()) for error in EVILS],
    *[("%s", (Evil(error),)) for error in EVILS],
    ("%s", (Nameless(SystemExit()),)),
    ("%s" * 10_000, ("x",)),
]


@pytest.mark.parametrize(("message", "arguments"), SAID, ids=range(len(SAID)))
def test_a_line_whose_arguments_do_not_fit_is_kept_in_some_form(message: Any, arguments: tuple[Any, ...]) -> None:
    log = new_log()
    log(message, *arguments)
    log.error("next")
    line, after = pickle.loads(pickle.dumps(log.take()))
    assert after.message == "next"
    assert type(line.message) is str
    assert 0 < len(line.message) <= LINE_MAX
    line.message.encode()
    assert "\x00" not in line.message


def test_of_a_line_that_cannot_be_formatted_all_that_can_be_read_is_there() -> None:
    log = new_log()
    log("sent %d letters", "three")
    log("sent %s", Evil(SystemExit(3)))
    log.warning("lost", exc_info=True, order=7)
    first, second, third = (line.message for line in log.take())
    assert first == "sent %d letters three"
    assert second.startswith("sent %s <tests.records.test_saying.Evil object")
    assert third == "lost exc_info=True order=7"


class Level(enum.IntEnum):
    LOW = 1


TOLD: list[tuple[Any, Any, dict[str, Any]]] = [
    (1, 2, {"current": 1, "total": 2, "message": "m"}),
    (2.5, None, {"current": 2.5, "total": None, "message": "m"}),
    (True, Level.LOW, {"current": 1, "total": 1, "message": "m"}),
    (decimal.Decimal("0.5"), 2**70, {"current": 0.5, "total": float(2**70), "message": "m"}),
    (math.nan, 3, {"current": 0, "total": 3, "message": "current=nan m"}),
    (1, -math.inf, {"current": 1, "total": None, "message": "total=-inf m"}),
    (None, "many", {"current": 0, "total": None, "message": "current=None total=many m"}),
    (b"x", {1: 2}, {"current": 0, "total": None, "message": "current=b'x' total={1: 2} m"}),
]


def context() -> JobContext:
    return JobContext(Job(), threading.Event())  # type: ignore[arg-type]


@pytest.mark.parametrize(("current", "total", "kept"), TOLD)
def test_a_progress_that_is_no_number_is_kept_as_its_text(current: Any, total: Any, kept: dict[str, Any]) -> None:
    job = context()
    job.progress(current, total, "m")
    assert job.latest_progress == (1, kept)
    assert [type(kept[name]) for name in kept] == [type(value) for value in (job.latest_progress[1] or {}).values()]


def test_a_progress_that_cannot_be_read_keeps_the_last_numbers() -> None:
    job = context()
    job.progress(3, 7, "three")
    for error in EVILS:
        job.progress(Evil(error), 10**400, Evil(error))  # type: ignore[arg-type]
        _, told = job.latest_progress
        assert told is not None
        assert (told["current"], told["total"]) == (3, 7)
    job.progress(4, 7, "\ud800\x00" + "x" * 1000)
    _, told = job.latest_progress
    assert told is not None
    assert len(told["message"]) <= 500
    told["message"].encode()


def test_an_interrupt_while_a_line_is_formatted_is_delivered() -> None:
    slot, token, log = Slot(), object(), new_log()

    class Slow:
        def __str__(self) -> str:
            threading.Thread(target=slot.interrupt, args=(token, SoftTimeout)).start()
            while True:
                pass

    with pytest.raises(SoftTimeout), slot.running(token):
        log("%s", Slow())


@pytest.mark.django_db(transaction=True)
def test_a_handler_that_says_it_badly_succeeds(register: Register) -> None:
    def work(job: JobContext, payload: Any) -> str:
        for message, arguments in SAID:
            job.log(message, *arguments)
        for current, total, _ in TOLD:
            job.progress(current, total)
        return "fine"

    job_id = lives.submit(register(work))
    job = lives.attempt(job_id)
    assert (job.status, job.result) == ("succeeded", "fine")
    assert job.progress == {"current": 1, "total": 3, "message": "current=b'x' total={1: 2}"}
