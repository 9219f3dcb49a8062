"""Wiring: handlers are found, checks are registered."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from pydantic import ValidationError


class JobsConfig(AppConfig):
    name = "jobs"
    verbose_name = "Background jobs"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from jobs import checks  # noqa: F401 - registers them
        from jobs.conf import conf

        try:
            conf()
        except ValidationError:
            return  # handlers may read settings; the checks, which every command runs, say what is wrong
        autodiscover_modules("handlers")
