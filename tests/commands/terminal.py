"""Running a command as a shell would see it, but in this process: exit code, stdout, stderr."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandError


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    error: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def manage(*arguments: str) -> Ran:
    """What `manage.py` prints and ends with. An exception that it would show as a traceback is raised."""
    out, error = io.StringIO(), io.StringIO()
    try:
        call_command(*arguments, stdout=out, stderr=error)
    except CommandError as problem:
        return Ran(problem.returncode, out.getvalue(), f"{error.getvalue()}{problem}")
    return Ran(0, out.getvalue(), error.getvalue())
