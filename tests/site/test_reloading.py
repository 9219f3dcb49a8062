"""Hot reload: a change restarts, a mistake is reported and restarts nothing."""

from __future__ import annotations

import pytest

from jobsite import reloading


@pytest.mark.parametrize(
    ("text", "problem"), [("x = 1\n", None), ("def f(:\n", "line 1"), ("x = '\0'\n", "null bytes")]
)
def test_a_file_that_does_not_compile_is_named(tmp_path, text, problem):
    path = tmp_path / "module.py"
    path.write_text(text)
    said = reloading.syntax_problem([path])
    assert said is None if problem is None else problem in said
    assert problem is None or "module.py" in said


def test_a_deleted_file_is_no_problem(tmp_path):
    assert reloading.syntax_problem([tmp_path / "gone.py"]) is None


@pytest.mark.parametrize(
    ("name", "counts"),
    [("views.py", True), ("page.html", True), ("turn.lua", True), ("jobs.sqlite3", False), ("__pycache__/a.py", False)],
)
def test_only_sources_count(name, counts):
    from watchfiles import Change

    assert reloading.SourceFilter()(Change.modified, f"/project/jobs/{name}") is counts
