"""`docs/settings.md`: every setting has its heading, none that does not exist, and the defaults are the real ones."""

from __future__ import annotations

import re

import pytest

from jobs.conf import PREFIX, Conf
from jobsite.environment import Environment
from tests.support.processes import ROOT

TEXT = (ROOT / "docs" / "settings.md").read_text()
SECTIONS = dict(re.findall(r"^### (\S+)\n(.*?)(?=^#|\Z)", TEXT, re.MULTILINE | re.DOTALL))
OURS = {PREFIX + name.upper(): field for name, field in Conf.model_fields.items()}
SITES = {name.upper() for name in Environment.model_fields if name != "stated_data_dir"}


def shown(default: object) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, tuple):
        return f"`{' '.join(default)}`"
    if isinstance(default, float):
        return f"`{default:g}`"
    return f"`{default}`" if default != "" else "empty"


def test_the_page_has_a_heading_for_each_setting_and_no_other():
    assert set(SECTIONS) == OURS.keys() | SITES | {"ENV_FILE"}


@pytest.mark.parametrize("name", sorted(OURS))
def test_the_default_and_the_meaning_are_those_of_the_code(name):
    field = OURS[name]
    words = shown(field.default)
    assert f"Default: {words}" in SECTIONS[name]
    assert str(field.description) in SECTIONS[name]
