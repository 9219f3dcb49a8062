"""The project as an app, for its own commands: up, serve, broker."""

from django.apps import AppConfig


class JobsiteConfig(AppConfig):
    name = "jobsite"
    verbose_name = "Job site"

    def ready(self) -> None:
        from jobsite import spelling  # noqa: F401 - importing it registers its check
