"""Where things are: the admin, the API, and what load balancers and Prometheus ask for."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from jobs.api.urls import root_urlpatterns

admin.autodiscover()

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("api/", include("jobs.api.urls")),
    *root_urlpatterns,
]
