"""What the processes of a fault run are made of: the project, the tests' handlers, and those of this folder."""

from __future__ import annotations

from tests.support.site_settings import *  # noqa: F403
from tests.support.site_settings import INSTALLED_APPS as SUPPORTED

INSTALLED_APPS = [*SUPPORTED, "tests.chaos"]
