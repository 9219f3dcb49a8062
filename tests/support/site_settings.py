"""What real processes under test run on: the project's settings and the tests' own handlers."""

from __future__ import annotations

from jobsite.settings import *  # noqa: F403
from jobsite.settings import INSTALLED_APPS as PROJECT_APPS

INSTALLED_APPS = [*PROJECT_APPS, "tests.support"]
