"""The API in a namespace, as projects with several of them have it."""

from __future__ import annotations

from django.urls import include, path

urlpatterns = [path("tasks/", include(("jobs.api.urls", "work"), namespace="work"))]
