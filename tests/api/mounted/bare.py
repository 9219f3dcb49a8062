"""The API at the root of a site, below the language of whoever asks."""

from __future__ import annotations

from django.conf.urls.i18n import i18n_patterns
from django.urls import include, path

urlpatterns = [path("", include("jobs.api.urls")), *i18n_patterns(path("api/", include("jobs.api.urls")))]
