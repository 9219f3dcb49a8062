"""What holds for every page: links lead somewhere, nothing is about one machine, decisions are short."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import ROOT, anchors, pages, prose

DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
PRAISE = re.compile(
    r"\b(blazing\w*|seamless\w*|effortless\w*|powerful|revolutionary|cutting-edge|world-class|enterprise-grade|"
    r"battle-tested|lightning-fast|state-of-the-art|supercharge\w*|simply|best-in-class)\b",
    re.I,
)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue  # somebody else's page
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{target} leads nowhere"
        if anchor:
            assert anchor in anchors(path), f"{target}: there is no such heading"


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_is_about_no_machine_and_praises_nothing(page):
    text = page.read_text()
    for place in re.findall(r"(?<![\w.])/(?:home|Users|root|work|tmp)/[\w./-]+", text):
        pytest.fail(f"{place} is a path of one machine")
    assert not (found := PRAISE.search(text)), f"{found}: say what it does instead"


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.name)
def test_a_decision_is_short_and_numbered(page):
    lines = page.read_text().splitlines()
    assert len(lines) <= 40
    number = re.match(r"(\d{4})-[a-z0-9-]+\.md$", page.name)
    assert number, "0000-a-name.md"
    assert lines[0].startswith(f"# {number[1]} ")
    assert [each.name[:4] for each in DECISIONS].count(number[1]) == 1


def test_tests_that_a_page_names_exist():
    for page in pages():
        for name, test in re.findall(r"`(tests/[\w/.]+\.py)(?:::(\w+))?`", page.read_text()):
            path = ROOT / name
            assert path.exists(), f"{page.name} names {name}"
            assert not test or f"def {test}(" in path.read_text(), f"{page.name}: {name} has no {test}"
