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
        from django.conf import settings

        from jobs import failpoints, redis_checks, rq_classes  # noqa: F401 - importing the checks registers them
        from jobs.conf import conf
        from jobs.database import install_router

        install_router()
        try:
            found = conf()
        except ValidationError:
            return  # handlers may read settings; the checks, which every command runs, say what is wrong
        if settings.DEBUG:
            failpoints.arm(failpoints.parse(found.fail), found.data_dir)
        rq_classes.install()
        autodiscover_modules("handlers")
