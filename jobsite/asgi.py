"""What `manage.py serve` runs: the fast lane for creates and status, Django on threads for the rest."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobsite.settings")
_django = get_wsgi_application()

from django.conf import settings  # noqa: E402

from jobs import process  # noqa: E402
from jobs.api.lane import lane  # noqa: E402
from jobsite.prefix import Prefixed  # noqa: E402
from jobsite.threads import ThreadedApp  # noqa: E402

application = lane(ThreadedApp(_django))
if settings.FORCE_SCRIPT_NAME:
    application = Prefixed(application, settings.FORCE_SCRIPT_NAME)
process.spare_the_collector()
