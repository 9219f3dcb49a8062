"""A project that uses the job system from Python alone."""

urlpatterns: list[object] = []
