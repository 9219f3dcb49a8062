"""The project as an app, for its own commands: up, serve, broker, doctor."""

from django.apps import AppConfig


class JobsiteConfig(AppConfig):
    name = "jobsite"
    verbose_name = "Job site"
