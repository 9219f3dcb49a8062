"""The tests as an app: `tests/support/handlers.py` is found as any app's handlers are."""

import os
import time

from django.apps import AppConfig

LOADING_S = "TEST_LOADING_S"
"""The environment variable that says for how many seconds the helper of isolated attempts loads the project."""


class SupportConfig(AppConfig):
    name = "tests.support"
    label = "tests_support"

    def ready(self) -> None:
        if (seconds := os.environ.get(LOADING_S)) and os.path.exists("/proc/self/cmdline"):
            with open("/proc/self/cmdline", "rb") as line:
                if line.read().startswith(b"jobs_nursery"):
                    time.sleep(float(seconds))
