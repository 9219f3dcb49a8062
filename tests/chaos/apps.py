"""The fault run as an app: its handlers are found, and a mutant is put in where the environment names one."""

from __future__ import annotations

import os

from django.apps import AppConfig


class ChaosConfig(AppConfig):
    name = "tests.chaos"
    label = "tests_chaos"

    def ready(self) -> None:
        from tests.chaos import mutants

        mutants.put_in(os.environ.get(mutants.VARIABLE, ""))
