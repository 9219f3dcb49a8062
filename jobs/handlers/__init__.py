"""Kinds of work that ship. Importing this package registers them."""

from pydantic import ValidationError

from jobs.conf import conf
from jobs.handlers import mail, upkeep, webhook  # noqa: F401 - they register themselves


def _is_demo() -> bool:
    try:
        return conf().demo
    except ValidationError:
        return False  # a setting makes no sense: `manage.py check` says which, in words


if _is_demo():
    from jobs.handlers import echo  # noqa: F401 - registers itself
