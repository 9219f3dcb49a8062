"""What `deploy/` says exists: commands, settings, paths, series."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from django.core.management import get_commands, load_command_class

from jobs.conf import PREFIX, Conf
from jobsite.environment import Environment
from tests.support.processes import ROOT

DEPLOY = ROOT / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
YAML = [path for path in FILES if path.suffix == ".yaml"]
THEIRS = {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}


def name(path: Path) -> str:
    return str(path.relative_to(DEPLOY))


def starts(text: str) -> list[list[str]]:
    """The command lines of `manage.py` in a file."""
    units = re.findall(r"manage\.py ([a-z][\w -]*)", text)
    lists = re.findall(r"(?:args|command|CMD):? \[((?:serve|migrate|rq)[^\]]*|\"serve\"[^\]]*)\]", text)
    return [line.split() for line in units] + [line.replace('"', "").replace(",", " ").split() for line in lists]


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix != ".md"], ids=name)
def test_every_command_exists_with_its_options(path):
    for command, *options in starts(path.read_text()):
        assert command in get_commands()
        parser = load_command_class(get_commands()[command], command).create_parser("manage.py", command)
        known = {text for action in parser._actions for text in action.option_strings}
        assert {option for option in options if option.startswith("--")} <= known


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_setting_exists(path):
    known = {field.upper() for field in Environment.model_fields} | {
        PREFIX + field.upper() for field in Conf.model_fields
    }
    stated = set(re.findall(r"\b(JOBS_[A-Z_]+|[A-Z]+_(?:URL|KEY|HOSTS|PROXY|PASSWORD))\b", path.read_text()))
    assert stated - THEIRS <= known


@pytest.mark.parametrize("path", YAML, ids=name)
def test_yaml_can_be_read(path):
    assert list(yaml.safe_load_all(path.read_text()))


def test_every_series_of_an_alert_is_one_that_is_measured():
    measured = (ROOT / "jobs" / "api" / "metrics.py").read_text()
    stated = set(re.findall(r"\bjobs_[a-z_]+\b", (DEPLOY / "prometheus" / "alerts.yaml").read_text()))
    assert stated
    assert not [series for series in stated if f'"{series}"' not in measured]


def test_each_stop_outlasts_the_grace_of_a_worker():
    grace_s = Conf.model_fields["stop_grace_s"].default
    stated = [
        *re.findall(r"stop_grace_period: (\d+)s", (DEPLOY / "compose.yaml").read_text()),
        *re.findall(r"TimeoutStopSec=(\d+)", (DEPLOY / "systemd" / "jobs-worker@.service").read_text()),
        re.findall(r"terminationGracePeriodSeconds: (\d+)", (DEPLOY / "kubernetes" / "jobs.yaml").read_text())[1],
    ]
    assert len(stated) == 3
    assert all(int(seconds) > grace_s for seconds in stated)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd on this machine")
@pytest.mark.parametrize("path", sorted((DEPLOY / "systemd").glob("*.service")), ids=name)
def test_systemd_understands_its_units(path, tmp_path):
    # The program that the unit starts lies elsewhere here; everything else is judged as it is.
    text = path.read_text().replace("/srv/jobs/.venv/bin/python", "/bin/true")
    unit = tmp_path / path.name.replace("@", "@1")
    unit.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)
    complaints = [line for line in done.stderr.splitlines() if path.name.split(".")[0].rstrip("@") in line]
    assert complaints == []
