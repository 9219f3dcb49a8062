"""The control run works: plain RQ loses and doubles where it must, and the count sees it; faults come by the same dice."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import faults
from tests.chaos.control.count import count, count_slots
from tests.chaos.control.nemesis import WITHOUT_MEANING, ControlNemesis, Onlooker
from tests.chaos.control.producer import Producer
from tests.chaos.control.site import ControlSite
from tests.chaos.history import History
from tests.chaos.nemesis import Nemesis
from tests.support.eventually import eventually
from tests.support.processes import ROOT

JOBS = 12
QUICK = {"type": "chaos", "payload": {"effect": "hold"}}
SLOW = {"type": "chaos", "payload": {"effect": "hold", "seconds": 0.3}}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ControlSite]:
    """Two workers of plain RQ, with a broker of their own, and no schedules: rq-scheduler looks once a minute."""
    monkeypatch.setenv("JOBS_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    found = ControlSite(5, hands=2, schedules=())
    try:
        found.start_all()
        yield found
    finally:
        found.close()


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    found = History(tmp_path / "history.jsonl")
    yield found
    found.close()


def offered(site: ControlSite, history: History, body: dict[str, Any], number: int) -> set[str]:
    producer = Producer(site, history, "alice", "1")
    found = [producer.offer(body) for _ in range(number)]
    return {job["id"] for job in found if job is not None}


def test_a_wiped_redis_loses_jobs_of_plain_rq_and_the_count_sees_them(site: ControlSite, history: History) -> None:
    onlooker = Onlooker(site)
    first = offered(site, history, QUICK, JOBS)
    site.drain(30)
    before = count(history, site.lines("runs.log"), site.lines("effects.log"), onlooker.told)
    assert before.accepted == before.ended == before.effects == len(first) == JOBS
    assert before.lost == before.doubled == before.failed == frozenset()

    second = offered(site, history, SLOW, JOBS)
    with site.redis() as connection:
        connection.flushall()
    site.drain(30)
    onlooker.look()
    after = count(history, site.lines("runs.log"), site.lines("effects.log"), onlooker.told)
    assert after.accepted == 2 * JOBS
    assert len(after.lost) >= JOBS / 2
    assert after.lost <= second


def test_an_id_that_is_pushed_again_runs_again_on_plain_rq_and_the_count_sees_it(
    site: ControlSite, history: History
) -> None:
    (job_id,) = offered(site, history, QUICK, 1)
    eventually(lambda: len(site.lines("effects.log")) == 1)
    with site.redis() as connection:
        connection.rpush("rq:queue:default", job_id)
    eventually(lambda: len(site.lines("effects.log")) == 2)
    found = count(history, site.lines("runs.log"), site.lines("effects.log"), set())
    assert found.doubled == found.doubled_otherwise == {job_id}
    history.note("nemesis", "pushed", ids=[job_id])
    found = count(history, site.lines("runs.log"), site.lines("effects.log"), set())
    assert found.doubled == {job_id}
    assert found.doubled_otherwise == frozenset()


class Nothing:
    """A system that is not there: what nothing is done to needs no processes."""

    database = "sqlite"

    def heal(self) -> None:
        """Nothing was broken."""


def drawn(kind_of: type[Nemesis], history: History, seed: str) -> dict[str, float]:
    """The dice of each strike, by kind, in their order, and what comes after them."""

    class Idle(kind_of):  # type: ignore[misc, valid-type]
        def _probe(self, kind: str, number: int, healed: float) -> None:
            """Nothing would answer."""

    found: dict[str, float] = {}
    nemesis = Idle(Nothing(), history, seed)

    def strike(kind: str) -> Callable[[faults.Stage], None]:
        return lambda stage: found.__setitem__(kind, stage.dice.random())

    order = list(faults.kinds("sqlite"))
    random.Random(seed).shuffle(order)
    for kind in order:
        nemesis._strike(kind, strike(kind))
    return found | {"next": nemesis.dice.random()}


def test_the_same_seed_strikes_both_systems_alike(history: History) -> None:
    ours, control = drawn(Nemesis, history, "1"), drawn(ControlNemesis, history, "1")
    assert set(ours) > WITHOUT_MEANING
    assert list(control.items()) == [(kind, dice) for kind, dice in ours.items() if kind not in WITHOUT_MEANING]
    assert drawn(ControlNemesis, history, "2") != control


@pytest.mark.parametrize(
    ("queued_at", "missing", "doubled"),
    [
        ([65, 125, 185], 0, 0),
        ([65, 185], 1, 0),
        ([65, 70, 125, 185], 0, 1),
        ([65, 181, 185], 0, 0),  # the second slot's was late
        ([], 3, 0),
    ],
)
def test_slots_are_counted_by_when_their_jobs_were_queued(queued_at: list[int], missing: int, doubled: int) -> None:
    lines = [["minute", str(at), "1"] for at in queued_at]
    assert count_slots(["minute"], 60, begin=10, end=200, lines=lines) == (3, missing, doubled)
