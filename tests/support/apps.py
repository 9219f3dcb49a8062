"""The tests as an app: `tests/support/handlers.py` is found as any app's handlers are."""

from django.apps import AppConfig


class SupportConfig(AppConfig):
    name = "tests.support"
    label = "tests_support"
