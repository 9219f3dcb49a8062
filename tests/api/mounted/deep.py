"""The API where another project would have it, twice, beside an API of that project's own."""

from __future__ import annotations

from django.http import HttpResponse
from django.urls import include, path

from jobs.api.urls import root_urlpatterns

urlpatterns = [
    path("internal/queue/", include("jobs.api.urls")),
    path("interne/größe/", include("jobs.api.urls")),
    path("internal/queue/shop", lambda request: HttpResponse("no such thing", status=404)),
    path("probes/", include(root_urlpatterns)),
]
