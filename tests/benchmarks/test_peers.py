"""The peers of the benchmark: what they take part in, their pins, and how a drain is counted."""

from __future__ import annotations

import ast
from pathlib import Path
from subprocess import Popen

import pytest

from benchmarks import postgres, python
from benchmarks.load import fill
from benchmarks.measures import MEASURES, drain
from benchmarks.peers import SYSTEMS
from benchmarks.peers.base import Api, Enqueues, Site, System
from benchmarks.peers.python import PythonPeer
from benchmarks.services import NotMeasured, Processes
from tests.support.eventually import eventually
from tests.support.postgres import is_available

JOBS = 300
RATE = 4_000
ROOT = python.HERE.parent.parent
IN_PYTHON = [system for system in SYSTEMS if isinstance(system, PythonPeer)]


class Clock:
    """Stands for the module `time`: it passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Steady(Enqueues):
    """A system that gets done so many jobs a second by that clock."""

    def __init__(self, clock: Clock, jobs: int, rate: float) -> None:
        super().__init__(Processes(Path()))
        self.clock, self.jobs, self.rate, self.looks = clock, jobs, rate, 0

    def enqueue(self, jobs: int) -> None: ...

    def start_worker(self, concurrency: int) -> Popen[bytes]:
        raise NotImplementedError

    def remaining(self) -> int:
        self.looks += 1
        return max(0, self.jobs - int(self.rate * self.clock.now))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stopped = Clock()
    monkeypatch.setattr(drain, "time", stopped)
    return stopped


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_every_system_takes_part_in_something(system: System) -> None:
    cells = [(key, name) for key, measure in MEASURES.items() for case in measure.cases for name in case.names]
    assert any(system.takes_part(key, name) for key, name in cells)


def test_every_system_has_a_name_of_its_own_and_says_what_it_keeps() -> None:
    assert len({system.name for system in SYSTEMS}) == len(SYSTEMS)
    assert all(system.persists for system in SYSTEMS)


@pytest.mark.parametrize("app", sorted({peer.app for peer in IN_PYTHON}))
def test_every_peer_in_python_has_a_program_that_enqueues(app: str) -> None:
    module = ast.parse((python.HERE / f"{app}.py").read_text())
    assert "fill" in {node.name for node in module.body if isinstance(node, ast.FunctionDef)}


def test_peers_stand_on_the_same_versions_as_ours() -> None:
    ours, theirs = (dict(_pins(path)) for path in (ROOT / "requirements.txt", python.PINS))
    shared = ours.keys() & theirs.keys()
    assert {"django", "redis", "rq", "psycopg[binary]"} <= shared
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}


def test_peers_that_cannot_be_installed_are_skipped_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = tmp_path / "requirements.txt"
    pins.write_text("./not-there\n")
    monkeypatch.setattr(python, "PINS", pins)
    monkeypatch.setenv("JOBS_DATA_DIR", str(tmp_path))
    python.environment.cache_clear()
    with pytest.raises(NotMeasured, match="not-there"):
        python.command("python")


def test_a_short_drain_is_timed_from_half_to_a_tenth_by_few_looks(clock: Clock) -> None:
    site = Steady(clock, jobs=20_000, rate=RATE)
    assert drain.steady_rate(site, 20_000) == pytest.approx(RATE, rel=0.001)
    assert 0 < site.remaining() <= 20_000 * drain.LAST
    assert site.looks < 40  # most of them while it warms up


def test_a_long_drain_is_warmed_up_first_and_ends_by_time(clock: Clock) -> None:
    site = Steady(clock, jobs=1_000_000, rate=RATE)
    assert drain.steady_rate(site, 1_000_000, seconds=3) == pytest.approx(RATE, rel=0.001)
    assert drain.WARM_UP_S + 3 <= clock.now <= drain.WARM_UP_S + 3.5


def test_a_drain_of_which_nothing_was_done_is_no_figure(clock: Clock) -> None:
    with pytest.raises(NotMeasured, match="none of 10 jobs"):
        drain.steady_rate(Steady(clock, jobs=10, rate=0), 10)


@pytest.mark.skipif(not is_available(), reason="needs PostgreSQL")
def test_a_database_is_fresh_each_time_keeps_what_it_commits_and_goes_afterwards(tmp_path: Path) -> None:
    import psycopg

    with Processes(tmp_path) as processes:
        url = postgres.database(processes)
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE left_behind (id int)")
            settings = [connection.execute(f"SHOW {name}").fetchone() for name in ("fsync", "synchronous_commit")]
        assert settings == [("on",), ("on",)]
        assert postgres.database(processes) != url
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_every_system_is_filled_drained_and_counted_to_the_last_job(system: System, tmp_path: Path) -> None:
    """Skips what is not there: Node.js, PostgreSQL, a package index."""
    try:
        with Processes(tmp_path) as processes:
            site = system.site(processes)
            _fill(site)
            assert site.remaining() == JOBS
            site.start_worker(10)
            assert eventually(lambda: site.remaining() == 0, timeout_s=60)
    except NotMeasured as error:
        pytest.skip(str(error))


def _fill(site: Site) -> None:
    if isinstance(site, Enqueues):
        site.enqueue(JOBS)
        return
    api: Api = site.start_api()
    fill(api, JOBS)
    site.processes.end(api.process)


def _pins(path: Path) -> list[tuple[str, str]]:
    lines = [line.split("==") for line in path.read_text().splitlines() if "==" in line]
    return [(name.lower(), version) for name, version in lines]
