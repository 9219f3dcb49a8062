"""Doors with one key: who may write a status, import rq, read settings; and that every name is documented once."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import jobs
from jobs import errors, lifecycle
from jobs.conf import PREFIX

APP = Path(jobs.__file__).parent
ROOT = APP.parent
FILES = sorted(path for path in APP.rglob("*.py") if "migrations" not in path.parts)
DOCS = ROOT / "docs"

MAY_WRITE_STATUS = ("transitions/",)
MAY_IMPORT_RQ = (
    "redis_client.py",
    "rq_classes.py",
    "redis_checks.py",
    "worker.py",
    "scheduler.py",
    # These only hand the flags of RQ's commands on to the loops.
    "management/commands/rqworker.py",
    "management/commands/rqscheduler.py",
)
SETS_STATUS = re.compile(r"\bstatus\s*=")
JOB_TABLE_WRITE = re.compile(r"(UPDATE\s+jobs_job\s+SET|INSERT\s+INTO\s+jobs_job\s*\()(.*)", re.DOTALL | re.IGNORECASE)


def name_of(path: Path) -> str:
    return path.relative_to(APP).as_posix()


@cache
def trees() -> list[tuple[str, ast.Module]]:
    return [(name_of(path), ast.parse(path.read_text())) for path in FILES]


def text_of(node: ast.AST) -> str:
    """The constant parts of a string, an f-string, or several that stand side by side."""
    return "".join(
        part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)
    )


def writes_status(tree: ast.Module) -> Iterator[int]:
    """Line numbers of SQL and ORM calls that write the status of a job."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant | ast.JoinedStr):
            found = JOB_TABLE_WRITE.search(text_of(node))
            if found and (
                "INSERT" in found.group(1).upper() or SETS_STATUS.search(found.group(2).partition("WHERE")[0])
            ):
                yield node.lineno
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            is_job = ast.unparse(node.func).startswith(("Job.objects", "jobs.filter", "models.Job.objects"))
            is_write = node.func.attr in ("update", "create", "bulk_create", "bulk_update", "get_or_create")
            if is_job and is_write and "status" in ast.unparse(node):
                yield node.lineno
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(ast.unparse(target) in ("job.status", "row.status") for target in targets):
                yield node.lineno


def test_only_the_transitions_write_a_jobs_status() -> None:
    found = {name: lines for name, tree in trees() if (lines := list(writes_status(tree)))}
    assert all(name.startswith(MAY_WRITE_STATUS) for name in found), found
    assert {"transitions/moves.py", "transitions/endings.py", "transitions/insert.py"} <= set(found)


def imported(tree: ast.Module) -> set[str]:
    """Top packages, and `django.conf` where settings are imported."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module if node.module == "django.conf" else node.module.partition(".")[0])
    return names


def test_only_few_modules_import_rq() -> None:
    found = {name for name, tree in trees() if imported(tree) & {"rq", "rq_scheduler", "django_rq"}}
    assert found - set(MAY_IMPORT_RQ) == set()


def test_only_conf_reads_the_settings_of_the_job_system() -> None:
    found = {
        name
        for name, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith(PREFIX)
        and ast.unparse(node.value).endswith("settings")
    }
    assert found == set()
    environment = {
        name
        for name, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"JOBS_[A-Z_]+", node.value)
    }
    assert environment - {"conf.py", "checks.py"} == set()


# --- documented once ----------------------------------------------------------------------------------


def page(name: str) -> str:
    path = DOCS / name
    if not path.exists():
        pytest.skip(f"docs/{name} is not written yet")
    return path.read_text()


CODES = sorted(
    {
        cls.code
        for cls in vars(errors).values()
        if isinstance(cls, type) and issubclass(cls, errors.JobsError) and 400 <= cls.http_status < 600
    }
    - {errors.Permanent.code, errors.Retry.code, errors.JobsError.code}
)


@pytest.mark.parametrize("code", CODES)
def test_every_error_code_is_documented(code: str) -> None:
    assert f"`{code}`" in page("api.md")


CHECK_IDS = sorted(
    set(
        re.findall(
            r'"(jobs\.[EW]\d{3})"', "".join((APP / name).read_text() for name in ("checks.py", "redis_checks.py"))
        )
    )
)


@pytest.mark.parametrize("check_id", CHECK_IDS)
def test_every_check_is_documented_once(check_id: str) -> None:
    pages = [path.read_text() for path in DOCS.rglob("*.md")]
    if not any(CHECK_IDS[0] in text for text in pages):
        pytest.skip("no page of docs/ lists the checks yet")
    entry = re.compile(rf"^(?:#+ +|\| *)`?{re.escape(check_id)}`?(?!\d)", re.MULTILINE)
    assert sum(len(entry.findall(text)) for text in pages) == 1


def test_the_lifecycle_page_is_what_the_table_says() -> None:
    from jobs.management.commands import lifecycle as command

    assert page("lifecycle.md") == command.page()


@pytest.mark.parametrize("status", lifecycle.Status)
def test_every_status_has_a_meaning(status: lifecycle.Status) -> None:
    assert lifecycle.MEANING[status]
