"""A fault run of about a minute with a fixed seed, and the checker's teeth: it sees every safeguard that is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.chaos import hostile_faults, restore
from tests.chaos.mutants import MUTANTS
from tests.chaos.play import chosen
from tests.support import sandbox
from tests.support.processes import ROOT

SEED = "1"

SEEN_BY = {
    "no fence": ("suspect wrongly", {"I6", "I7"}),
    "no unique key": ("push fifty times", {"I2"}),
    "no repair": ("kill worker", {"I1"}),
    "effect recorded after sending": ("kill horse, kill worker", {"I3"}),
    "no dead-man timer": ("stop both, stop parent", {"I7"}),
    "acknowledgement before commit": ("kill api", {"I1"}),
    "nothing is refused": ("kill scheduler", {"I13"}),
    "worlds are shared": ("kill scheduler", {"I17"}),
    "lock is an outage": ("lock running rows", {"I18"}),
    "verdict is not kept": ("stop with locked rows", {"I19"}),
    "exit code is believed": ("kill scheduler", {"I1", "I14"}),
    "programs are left": ("kill scheduler", {"I16"}),
    "replica is read": ("hold replica", {"I3", "I10"}),
    "everybody keeps house": ("containers", {"I21"}),
    "rival is a loss": ("rival", {"I20"}),
    "lists are not trimmed": ("cancel in bulk", {"I22"}),
    "local clock decides": ("set api clock wrong", {"I23"}),
    "epoch goes back": ("restore database", {"I24"}),
}
"""By mutant: faults that bring it out, and laws of which at least one must be found broken."""

HOSTILE = {
    "nothing is refused": "refused",
    "worlds are shared": "spoiler, world",
    "exit code is believed": "exits",
    "programs are left": "offspring",
    "replica is read": "flip",
}
"""By mutant: the hostile jobs that bring it out; others need none."""


def run(*arguments: str, timeout_s: float) -> tuple[int, str]:
    command = [sys.executable, "-m", "tests.chaos", "--database", sandbox.chosen_database(), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.timeout(400)
def test_a_minute_of_faults_breaks_no_law() -> None:
    code, words = run("--minutes", "1", "--seed", SEED, timeout_s=390)
    sys.stdout.write(words)
    assert code == 0, words
    assert "violations  0" in words


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_checker_sees_a_missing_safeguard(mutant: str) -> None:
    faults, laws = SEEN_BY[mutant]
    kinds = {*hostile_faults.kinds(sandbox.chosen_database()), restore.NAME}
    if not kinds.intersection(chosen(faults)):
        pytest.skip(f"{faults}: not on this database")
    code, words = run(
        "--minutes",
        "0.4",
        "--seed",
        SEED,
        "--faults",
        faults,
        "--hostile",
        HOSTILE.get(mutant, "none"),
        "--mutant",
        mutant,
        "--drain",
        "20",
        timeout_s=390,
    )
    assert code == 1, words
    assert any(f"  {law}: " in words for law in laws), words
