"""The benchmark harness: its command line, its arithmetic, its tables, and one small measurement of ours."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest

from benchmarks import machine, tables
from benchmarks.__main__ import PAGE, ROOT, main
from benchmarks.peers import SYSTEMS
from benchmarks.runner import Figure
from benchmarks.services import Processes
from tests.support.eventually import eventually

JOBS = 300
OURS, BULLMQ = "ours (SQLite)", "bullmq (completed jobs kept)"


def test_the_list_names_every_measure_and_system(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert all(text in listed for text in ("accept", "drain", *(system.name for system in SYSTEMS)))


def test_a_dry_run_tells_the_plan_and_measures_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    before = PAGE.read_text()
    assert main(["--dry-run", "--quick", "--only", "drain"]) == 0
    assert capsys.readouterr().out.startswith("1 round(s) of drain:\n")
    assert PAGE.read_text() == before


def test_an_unknown_measure_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "speed"])
    assert "speed: known are accept, drain" in capsys.readouterr().err


def test_the_machine_is_told_by_what_every_installation_has() -> None:
    facts = machine.describe() | machine.present()
    pinned = (ROOT / "requirements.txt").read_text().lower()
    assert all(f"{name.lower()}==" in pinned for name in machine.PACKAGES)
    assert all(facts[name] for name in ("cores", "kernel", "Python", *machine.PACKAGES))


def test_saved_figures_give_the_same_page_and_say_what_was_skipped(tmp_path: Path) -> None:
    figures = [
        Figure("drain", "concurrency 10", OURS, [1000, 3000]),
        Figure("drain", "concurrency 10", BULLMQ, skipped="no | npm"),
    ]
    report = tables.Report({"cores": "2"}, {"drain": {"rounds": "2"}}, figures)
    page = tmp_path / "page.md"
    page.write_text(f"above\n{tables.BEGIN}\nold\n{tables.END}\nbelow\n")
    tables.write_into(page, tables.render(tables.loaded(report.dumped())))
    text = page.read_text()
    assert "| ours (SQLite) | 2,000 (1,000–3,000) |" in text
    assert "skipped: no / npm" in text
    assert (text.startswith("above\n"), text.endswith("below\n"), "old" in text) == (True, True, False)


def of_one_measure(machine: dict[str, str], measure: str, date: str, value: float) -> tables.Report:
    return tables.Report(machine, {measure: {"date": date}}, [Figure(measure, "single", OURS, [value])])


def test_a_run_of_one_measure_keeps_what_the_same_machine_said_of_the_others() -> None:
    here = {"cores": "2"}
    first = of_one_measure(here, "accept", "Monday", 1111).beside(of_one_measure(here, "drain", "Sunday", 2222))
    text = tables.render(of_one_measure(here, "accept", "Tuesday", 3333).beside(first))
    assert [word in text for word in ("Monday", "1,111", "Tuesday", "3,333", "Sunday", "2,222")] == [False] * 2 + [
        True
    ] * 4
    elsewhere = tables.render(of_one_measure({"cores": "64"}, "accept", "Tuesday", 3333).beside(first))
    assert "2,222" not in elsewhere


def test_ours_is_drained_and_counted_to_the_last_job(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        site = SYSTEMS[0].site(processes)
        api = site.start_api()
        body = json.dumps({"jobs": [{"type": "echo"}] * JOBS}).encode()
        headers = {**api.headers, "content-type": "application/json"}
        urllib.request.urlopen(urllib.request.Request(api.batch_url, body, headers), timeout=30).close()
        processes.end(api.process)
        assert site.remaining() == JOBS
        site.start_worker(10)
        assert eventually(lambda: site.remaining() == 0, timeout_s=40)
