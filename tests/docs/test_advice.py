"""What any text of the product advises can be done as it is printed: commands parse, settings, pages and addresses exist.

Texts are the string constants of the code, templates, and the pages. What a program fills in while it runs (an id, a
queue's name) is stood for by a word.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class
from django.core.management.base import CommandError, CommandParser
from django.urls import Resolver404, resolve

from jobs.conf import PREFIX, Conf
from tests.docs.pages import ROOT, anchors
from tests.docs.pages import pages as all_pages

CODE = sorted(
    path for app in ("jobs", "jobsite") for path in (ROOT / app).rglob("*.py") if "migrations" not in path.parts
)
TEMPLATES = sorted((ROOT / "jobs" / "templates").rglob("*.html"))
DEPLOY = sorted(path for path in (ROOT / "deploy").rglob("*") if path.is_file())
PAGES = [page for page in all_pages() if "decisions" not in page.parts]

FILLED = "filled"
"""What stands for a value that is filled in."""

COMMAND = re.compile(r"(?P<quote>`(?:python )?)?manage\.py (?P<words>[a-z][^`\n;|<>()\"“]*)(?P<end>`?)")
OURS_IN_PROSE = re.compile(r"\b(JOBS_[A-Z][A-Z_]*[A-Z])\b")
NOT_SETTINGS = {"JOBS_API", "JOBS_NAME", "JOBS_TIMOUT_S", "JOBS_TEST_DATABASE", "JOBS_DATABASE_URL"}


@cache
def texts() -> list[tuple[str, str]]:
    """(where, text) of everything that may be shown to a person."""
    found = [(str(path.relative_to(ROOT)), text) for path in CODE for text in _constants(path)]
    return found + [(str(path.relative_to(ROOT)), _filled(path.read_text())) for path in (*TEMPLATES, *PAGES, *DEPLOY)]


def _constants(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    inside = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node)
        if part is not node
    }
    remarks = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)
    }  # docstrings: for those who read code
    for node in ast.walk(tree):
        if id(node) in remarks:
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else FILLED for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.value


def _filled(text: str) -> str:
    return re.sub(r"\{\{.*?\}\}", FILLED, text)


def commands() -> list[tuple[str, str, bool]]:
    """Each command line that a text names: where, its words, and whether it is marked as a whole."""
    return sorted(
        {
            (where, found["words"].strip(), bool(found["quote"] and found["end"]))
            for where, text in texts()
            for found in COMMAND.finditer(text)
        }
    )


STOPS = re.compile(r"(?<=\w)[.:,](?=\s|$)|\s#|\s(?:->|→|—)|[…]|  +|'\)|'$|\*\*|, ")
PLACEHOLDERS = {
    "ID": FILLED,
    "$ID": FILLED,
    "CLIENT": FILLED,
    "PREFIX": FILLED,
    "NAME": FILLED,
    "OLD": FILLED,
    "NEW": FILLED,
    "QUEUE": FILLED,
    "TYPE": FILLED,
    "SECONDS": "60",
}


@pytest.mark.parametrize(("where", "line", "is_whole"), commands())
def test_every_command_that_a_text_names_is_one(where: str, line: str, is_whole: bool) -> None:
    """Its own parser takes it: all of it where the code marks it so, otherwise the beginning of what follows."""
    line = STOPS.split(line)[0]
    try:
        words = shlex.split(line.replace("’", ""))
    except ValueError:  # a quote that belongs to the text around
        words = line.split()
    name, *arguments = [PLACEHOLDERS.get(word, word) for word in words]
    name = name.rstrip(".:,'")
    assert name in get_commands(), f"{where}: there is no command {name!r}"
    parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
    counts = [len(arguments)] if is_whole else range(len(arguments), -1, -1)
    if where.endswith(".py"):
        assert any(_is_taken(parser, arguments[:count]) for count in counts), f"{where}: {line}"
    options = {text for action in _all_actions(parser) for text in action.option_strings}
    for word in arguments:
        if word.startswith("--"):
            assert word.partition("=")[0].rstrip(".,:") in options, f"{where}: {name} has no option {word}"


def _is_taken(parser: CommandParser, arguments: list[str]) -> bool:
    try:
        parser.parse_args(arguments)
    except (CommandError, SystemExit):
        return False
    return True


def _all_actions(parser: CommandParser) -> list:  # type: ignore[type-arg]
    found = list(parser._actions)
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for one in action.choices.values():
                found += _all_actions(one)
    return found


def test_the_texts_were_found() -> None:
    named = {line.split()[0].rstrip(".:,'") for _, line, _ in commands()}
    assert {"rqworker", "rqscheduler", "queues", "effects", "migrate", "doctor", "why", "broker", "apikey"} <= named
    assert len(commands()) > 60


def test_every_setting_that_a_text_names_is_one() -> None:
    known = {PREFIX + name.upper() for name in Conf.model_fields} | NOT_SETTINGS
    wrong = {
        (where, name)
        for where, text in texts()
        for name in OURS_IN_PROSE.findall(text)
        if name not in known and not name.startswith(("JOBS_API_", "JOBS_TEST", "JOBS_SERVICE"))
    }
    assert {(where, name) for where, name in wrong if not any(one.startswith(name) for one in known)} == set()


def test_every_page_that_the_code_names_is_there() -> None:
    for where, text in texts():
        if not where.endswith(".py"):
            continue
        for page, anchor in re.findall(r"\b(docs/[\w/-]+\.md)(?:#([\w-]+))?", text):
            assert (ROOT / page).exists(), f"{where} names {page}"
            assert not anchor or anchor in anchors(ROOT / page), f"{where} names {page}#{anchor}"


def test_every_address_that_a_text_names_is_there() -> None:
    for where, text in texts():
        for method, address in re.findall(
            r"\b(GET|POST|PUT|DELETE) (/(?:api|admin|health|metrics)[^\s`|,;)\"']*)", text
        ):
            path = re.sub(r"<[^>]*>|\{[^}]*\}|…|NAME|ID|\$\w+", FILLED, address.rstrip(".:").partition("?")[0])
            try:
                resolve(path)
            except Resolver404:
                pytest.fail(f"{where} names {method} {address}")


def test_commands_are_printed_as_they_are_typed() -> None:
    """What a program prints about `manage.py` begins with `python`, which is how it is run everywhere."""
    bare = [
        (where, text)
        for where, text in texts()
        if where.startswith("jobs/") and ("doctor/" in where or where.endswith(("why.py", "page.html")))
        for _ in re.finditer(r"(?<!python )manage\.py [a-z]", text)
        if not text.startswith(("Why is it not running", '"""'))
    ]
    assert bare == []


def test_every_finding_of_doctor_is_documented_and_no_other() -> None:
    named = set()
    for path in sorted((ROOT / "jobs" / "doctor").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("warning", "failure", "make"):
                assert isinstance(node.args[0], ast.Constant | ast.Name | ast.Call), ast.unparse(node)
                if isinstance(node.args[0], ast.Constant):
                    named.add(node.args[0].value)
    from jobs.doctor.refusals import CLASSES, KINDS

    named |= {name for name, _ in KINDS} | set(CLASSES.values()) | {"redis-refused"}
    section = (ROOT / "docs" / "operate.md").read_text().partition("## What doctor finds")[2].partition("\n## ")[0]
    documented = {
        name for row in re.findall(r"^\| (`.*?) \|", section, re.M) for name in re.findall(r"`([a-z-]+)`", row)
    }
    assert documented == named
