"""The commands that docs/schedules.md shows do what they say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from jobs.models import Job, Schedule
from tests.commands.terminal import manage

PAGE = (Path(__file__).resolve().parent.parent.parent / "docs/schedules.md").read_text()
COMMANDS = [shlex.split(line)[1:] for line in re.findall(r"^manage\.py schedules .*", PAGE, re.MULTILINE)]


@pytest.mark.django_db
def test_each_command_of_the_page_about_schedules_works() -> None:
    assert len(COMMANDS) >= 8
    for command in COMMANDS:
        ran = manage(*command)
        assert ran.code == 0, ran.error
    assert Schedule.objects.get().name == "pulse"
    assert Job.objects.get().payload == {"value": "report"}


def test_the_page_names_every_option_of_set(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        manage("schedules", "set", "--help")
    shown = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    own = {f"--{name}" for name in ("help", "json", "type", "version", "verbosity", "settings", "pythonpath", "traceback",
                                    "no-color", "force-color", "skip-checks")}  # fmt: skip
    ours = shown - own
    assert len(ours) >= 14
    assert all(f"`{option}" in PAGE or f" `{option}" in PAGE for option in ours)
