"""docs/api.md names what there is, and nothing else."""

from __future__ import annotations

import re

from jobs import errors
from jobs.api import keys, problems
from tests.api.promises import described
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "api.md").read_text()


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_request_is_listed():
    listed = set(re.findall(r"^\| `(GET|POST) ([^`]+)` \|", section("Requests"), re.M))
    assert listed == {(method.upper(), path) for path, found in described()["paths"].items() for method in found}


def test_every_code_is_listed():
    own = [
        errors.UnknownType, errors.UnknownQueue, errors.InvalidPayload, errors.KeyReused, errors.NotAllowed,
        errors.JobNotFound, errors.MalformedRequest, errors.TooLarge, errors.DatabaseUnavailable,
    ]  # fmt: skip
    codes = {error.code for error in own} | set(problems.CODES.values()) | problems.OWN_CODES
    listed = {
        code
        for row in re.findall(r"^\| \d{3} \| ([^|]+) \|", section("Errors"), re.M)
        for code in re.findall(r"`([^`]+)`", row)
    }
    assert listed == codes - {"forbidden"}  # only what no view of ours answers


def test_every_scope_is_listed():
    assert set(re.findall(r"^\| `(\w+:\w+)` \|", section("Keys and scopes"), re.M)) == set(keys.SCOPES)
