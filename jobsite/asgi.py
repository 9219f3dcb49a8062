"""What `manage.py serve` runs: the fast lane for creates and status, Django on threads for the rest."""

import gc
import os

from django.core.wsgi import get_wsgi_application

GARBAGE = 5_000
"""Objects after which the collector looks at the young ones. A request makes some dozens, of which next to none stay."""

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobsite.settings")
_django = get_wsgi_application()

from jobs.api.lane import lane  # noqa: E402
from jobsite.threads import ThreadedApp  # noqa: E402

application = lane(ThreadedApp(_django))

# What is loaded stays: the collector need not look at it again each time.
gc.collect()
gc.freeze()
gc.set_threshold(GARBAGE)
