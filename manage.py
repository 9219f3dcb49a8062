#!/usr/bin/env python
"""Django's command line."""

import os
import sys

from jobs import streams
from jobsite import tether


def main() -> None:
    streams.open_all()
    tether.hold()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobsite.settings")
    try:
        from django.core.exceptions import ImproperlyConfigured
        from django.core.management import execute_from_command_line
        from django.db import OperationalError
    except ImportError:
        sys.exit("Django is not installed here: start with scripts/up, or use .venv/bin/python manage.py.")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"manage.py: {error}")
    except OperationalError as error:
        if "--traceback" in sys.argv:
            raise
        reason = str(error).strip().partition("\n")[0]
        sys.exit(f"manage.py: the database does not do that: {reason} (manage.py doctor says what is missing)")


if __name__ == "__main__":
    main()
