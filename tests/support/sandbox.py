"""Where a test run lives: one temporary folder, known before Django's settings are read.

The path is short because a unix socket's must be. Each process of pytest-xdist has its own.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from tests.support import postgres

DATABASES = ("sqlite", "postgres")


@cache
def folder() -> Path:
    path = Path(tempfile.mkdtemp(prefix="jobs-test-", dir="/tmp"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@cache
def chosen_database() -> str:
    """`JOBS_TEST_DATABASE`: sqlite (default) or postgres. Taken out of the environment, where it would look
    like a setting of the job system; the processes of pytest-xdist inherit it under another name."""
    chosen = os.environ.pop("JOBS_TEST_DATABASE", None) or os.environ.get("DATABASE_OF_TESTS", "sqlite")
    os.environ["DATABASE_OF_TESTS"] = chosen
    if chosen not in DATABASES:
        raise SystemExit(f"JOBS_TEST_DATABASE must be one of {DATABASES}, not {chosen!r}")
    return chosen


def environment() -> dict[str, str]:
    """What the settings of this process and of its children are made from; nobody's .env has a say."""
    stated = {
        "ENV_FILE": os.devnull,
        "DEBUG": "1",
        "SECRET_KEY": "only-for-tests-" + "x" * 40,
        "JOBS_DATA_DIR": str(folder()),
        "JOBS_DEMO": "1",
        "DATABASE_URL": "",
        "REDIS_URL": "",
        "EMAIL_URL": "",
    }
    if chosen_database() == "postgres":
        stated["DATABASE_URL"] = postgres.server(folder()).url("postgres")
    return stated


def test_database() -> dict[str, Any]:
    """A file, not memory: other threads and processes have to see it."""
    return {"NAME": str(folder() / "test.sqlite3")} if chosen_database() == "sqlite" else {"NAME": "jobs_test"}


def children_environment() -> dict[str, str]:
    """The same for processes that work on the test database, under the name that pytest-django gave it."""
    from django.db import connection

    name = connection.settings_dict["NAME"]
    if chosen_database() == "postgres":
        return {"DATABASE_URL": postgres.server(folder()).url(name)}
    return {"DATABASE_URL": f"sqlite:///{name}"}
