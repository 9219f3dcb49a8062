"""A route of the project's own comes before one of the API's."""

from __future__ import annotations

from django.http import HttpResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt

urlpatterns = [
    path("api/jobs", csrf_exempt(lambda request: HttpResponse("theirs"))),
    path("api/", include("jobs.api.urls")),
]
