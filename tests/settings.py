"""The project's own settings on a data dir, a broker and a database of this test run alone.

Read by pytest's process before any fixture runs; real processes that the tests start read
`jobsite.settings` with the variables set here (see `tests/support/world.py`).
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.support import sandbox

TEST_DATABASE = sandbox.chosen_database()
os.environ.update(sandbox.environment())

from jobsite.settings import *  # noqa: E402, F403
from jobsite.settings import DATABASES, INSTALLED_APPS  # noqa: E402

DATABASES["default"]["TEST"] = sandbox.test_database()
INSTALLED_APPS = [*INSTALLED_APPS, "tests.support"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
SANDBOX = Path(os.environ["JOBS_DATA_DIR"])
