"""The README, followed by a new user: its commands do what it says, in its order."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

from tests.docs.pages import ROOT, blocks
from tests.support.world import World

README = ROOT / "README.md"
MARK = "--- end of block"


@pytest.fixture
def site(world: World) -> World:
    """What `scripts/up` leaves running, with its files where the README looks for them."""
    (world.data_dir / "dev-api-key").write_text(world.api_key)
    world.serve()
    world.worker()
    world.scheduler().says("started")
    return world


@pytest.mark.timeout(600)  # a dozen commands, each of which starts Django
def test_every_marked_command_does_what_the_readme_says(site):
    marked = blocks(README, "sh")
    assert len(marked) > 8
    script = "".join(_local(block.code, site) + f"\necho '{MARK}'\n" for block in marked)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=ROOT,
        env=site.environment({"PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"}),
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for block, output in zip(marked, done.stdout.split(MARK), strict=False):
        for wanted in block.wanted:
            assert wanted in output, f"{block.code}\nprinted no {wanted!r} but\n{output}"
    _assert_logs_are_as_quoted(site)


def _assert_logs_are_as_quoted(site: World) -> None:
    """Each line of the worker's log that the README quotes has been said, give or take ids and numbers."""
    said = "\n".join(process.log for process in site.processes if process.arguments[0] == "rqworker")
    quoted = re.findall(r"^jobs\.\w+: .+$", README.read_text(), re.M)
    assert len(quoted) > 8
    for line in quoted:
        pattern = re.escape(line).replace("demo", r"\w+")
        pattern = re.sub(r"[0-9a-f]{8}(\\-[0-9a-f]{4}){3}\\-[0-9a-f]{12}", r"[0-9a-f-]{36}", pattern)
        pattern = re.sub(r"\d{4}\\-\d\d\\-\d\dT[\d:\\.]+Z", r"\\S+Z", pattern)
        pattern = re.sub(r"\d+\\\.\d+\\ s", r"[\\d.]+ s", pattern)
        assert re.search(pattern, said), f"the README quotes a line that no worker said: {line}"


def _local(code: str, site: World) -> str:
    """The block on this test's port and data dir, and on the Python that runs the tests."""
    code = re.sub(r"^\. \.venv/bin/activate$", "", code, flags=re.M)
    return code.replace("http://127.0.0.1:8000", site.url).replace("var/", f"{site.data_dir}/")


@pytest.mark.parametrize("page", ["README.md", "docs/operate.md", "docs/handlers.md", "docs/guarantees.md"])
def test_every_command_that_is_named_exists_with_its_options(page):
    named = re.findall(r"(?:python )?manage\.py ([a-z][\w-]+)((?: +[^\s`|#;]+)*)", (ROOT / page).read_text())
    known = get_commands()
    for command, rest in named:
        assert command in known, f"{page} names manage.py {command}"
        wanted = [word.partition("=")[0] for word in rest.split() if word.startswith("--")]
        text = _all_help(command)
        for option in wanted:
            assert option in text, f"{page}: manage.py {command} has no {option}"


def _all_help(command: str) -> str:
    """The help of the command and of its verbs."""
    app = get_commands()[command]
    parser = load_command_class(app, command).create_parser("manage.py", command)
    verbs = [sub for action in parser._actions if isinstance(action.choices, dict) for sub in action.choices.values()]
    return "\n".join(each.format_help() for each in [parser, *verbs])


def test_scripts_that_are_named_exist():
    for name in re.findall(r"\bscripts/\w+", README.read_text()):
        assert (ROOT / name).is_file(), name
