"""All that decides reads the primary: the job system's models stay in one database, whatever routers a project has."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.db import router
from django.test import override_settings

OURS = sorted(apps.get_app_config("jobs").get_models(), key=lambda model: model.__name__)


class Elsewhere:
    """A router that sends everything away, as a project's may."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "replica"

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "elsewhere"

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return db == "elsewhere"


@pytest.fixture
def a_router_that_sends_everything_away(settings):
    settings.DATABASE_ROUTERS = [f"{__name__}.Elsewhere"]


@pytest.mark.usefixtures("a_router_that_sends_everything_away")
@pytest.mark.parametrize("model", OURS)
def test_a_projects_router_has_no_say_in_our_models(model):
    assert (router.db_for_read(model), router.db_for_write(model)) == ("default", "default")
    assert router.allow_migrate_model("default", model)
    assert not router.allow_migrate_model("elsewhere", model)


@pytest.mark.usefixtures("a_router_that_sends_everything_away")
def test_a_projects_router_decides_about_its_own_models():
    user = apps.get_model("auth", "User")
    assert (router.db_for_read(user), router.db_for_write(user)) == ("replica", "elsewhere")


@pytest.mark.usefixtures("a_router_that_sends_everything_away")
def test_our_models_follow_the_setting():
    with override_settings(JOBS_DATABASE="elsewhere"):
        assert {router.db_for_read(model) for model in OURS} == {"elsewhere"}
