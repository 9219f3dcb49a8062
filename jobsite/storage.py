"""Where static files are found by browsers: below the prefix that the request at hand came under."""

from __future__ import annotations

from django.contrib.staticfiles.storage import StaticFilesStorage
from django.urls import get_script_prefix
from django.utils.encoding import escape_uri_path


class Static(StaticFilesStorage):
    """Django reads STATIC_URL once, at start, when a prefix that the server states for each request is not known yet."""

    @property
    def base_url(self) -> str:
        return f"{escape_uri_path(get_script_prefix())}static/"
