"""What the processes of a fault run are made of: the project, the tests' handlers, those of this folder, and a replica."""

from __future__ import annotations

import os

from tests.chaos import replica
from tests.support.site_settings import *  # noqa: F403
from tests.support.site_settings import INSTALLED_APPS as SUPPORTED

INSTALLED_APPS = [*SUPPORTED, "tests.chaos"]

if os.environ.get(replica.VARIABLE):
    replica.settings(DATABASES)  # noqa: F405
    DATABASE_ROUTERS = ["tests.chaos.replica.Router"]

CACHES = {"default": {"BACKEND": "tests.chaos.caches.Broken"}}
