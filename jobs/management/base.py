"""What the commands share: errors as one sentence with an exit code, and JSON in and out.

With `--json` one document goes to stdout and everything else to stderr.
"""

from __future__ import annotations

import getpass
import json
import math
import os
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DatabaseError
from django.db import ProgrammingError, connections
from redis.exceptions import RedisError

from jobs import process, streams
from jobs.errors import JobNotFound, JobsError, KeyReused

INVALID, KEY_CONFLICT = 2, 3


class OutputLost(Exception):
    """Standard output did not take what a command had to say."""


class Output:
    """Django's OutputWrapper, by which output that cannot be written is told from every other error of the system."""

    def __init__(self, out: Any) -> None:
        self._out = out

    def __getattr__(self, name: str) -> Any:
        return getattr(self._out, name)

    def write(self, *args: Any, **options: Any) -> None:
        if self._is_standard() and streams.STDOUT in streams.closed:
            raise OutputLost("it is closed")
        self._try(self._out.write, *args, **options)

    def flush(self) -> None:
        """Now, while it can be told: at the end of the process it could not."""
        self._try(self._out.flush)

    def _try(self, call: Callable[..., Any], *args: Any, **options: Any) -> None:
        try:
            call(*args, **options)
        except OSError as error:
            if self._is_standard():
                _forget_output()
            raise OutputLost(error.strerror) from None

    def _is_standard(self) -> bool:
        return getattr(self._out, "_out", None) is sys.stdout


def _forget_output() -> None:
    """What waits to be written goes nowhere, instead of failing once more at the end of the process."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, streams.STDOUT)
    os.close(nowhere)


class Lasting(BaseCommand):
    """A command that goes on when nobody takes what it prints."""

    kept: tuple[int, ...] = (streams.STDOUT, streams.STDERR)

    def run_from_argv(self, argv: list[str]) -> None:
        streams.outlast(*self.kept)
        self.stdout._out, self.stderr._out = sys.stdout, sys.stderr  # type: ignore[attr-defined]
        super().run_from_argv(argv)


class JobsCommand(Lasting):
    """A command whose `run` may raise what the system raises; a person never sees a traceback for it."""

    kept = (streams.STDERR,)

    done = ""
    """What was done so far, as a sentence: said where output is lost."""

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout = Output(self.stdout)  # type: ignore[assignment]
        try:
            self.run(**options)
            self.stdout.flush()
        except OutputLost as error:
            raise CommandError(
                f"The output could not be written: {error}. {self.done}".rstrip(), returncode=1
            ) from None
        except KeyReused as error:
            raise CommandError(_sentence(error), returncode=KEY_CONFLICT) from None
        except JobsError as error:
            if isinstance(error.__cause__, DatabaseError):
                raise CommandError(_database_sentence(error.__cause__), returncode=1) from None
            code = INVALID if 400 <= error.http_status < 500 else 1
            raise CommandError(_sentence(error), returncode=code) from None
        except ValidationError as error:
            raise CommandError(" ".join(_complaints(error)), returncode=INVALID) from None
        except DatabaseError as error:
            raise CommandError(_database_sentence(error), returncode=1) from None
        except RedisError as error:
            raise CommandError(f"Redis does not answer: {_first_line(error)}", returncode=1) from None
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            raise CommandError(f"The system refused: {error.strerror or error}{where}", returncode=1) from None
        except KeyboardInterrupt:
            raise CommandError("Interrupted.", returncode=130) from None

    def run(self, **options: Any) -> None:
        raise NotImplementedError

    def print_json(self, document: Any) -> None:
        self.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2, default=str).decode())


def leave_init() -> None:
    """As the first process of a container, go on in a child: the first process reaps orphans and passes signals on.

    For commands that run for long. It forks, and so comes before threads; connections are not shared.
    """
    if process.is_init():
        connections.close_all()
        process.leave_init()


def operator_name() -> str:
    """Who ran the command, for events: the user of the operating system."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "command"


def write_pid(path: str | None) -> Path | None:
    """The file with this process' id; None where none is wanted. Raises CommandError."""
    if not path:
        return None
    file = Path(path).expanduser()
    try:
        file.write_text(str(os.getpid()))
    except OSError as error:
        raise CommandError(f"The pid file {file} cannot be written: {error.strerror}", returncode=INVALID) from None
    return file


def job_id(text: str) -> uuid.UUID:
    """A job's id from the command line. Raises JobNotFound: an id that is none belongs to no job."""
    try:
        return uuid.UUID(text)
    except ValueError:
        raise JobNotFound(f"there is no job {text!r}") from None


def read_json(argument: str, option: str) -> Any:
    """JSON from an argument, from `@file`, or from stdin (`-`), as strict as the API. Raises CommandError."""
    try:
        if argument == "-":
            text = sys.stdin.read()
        elif argument.startswith("@"):
            text = Path(argument[1:]).read_text(encoding="utf-8")
        else:
            text = argument
        return json.loads(text, object_pairs_hook=_once, parse_constant=_refuse, parse_float=_finite)
    except OSError as error:
        raise CommandError(f"{option}: {argument[1:]} cannot be read: {error.strerror}", returncode=INVALID) from None
    except RecursionError:
        raise CommandError(f"{option}: the JSON is nested too deep", returncode=INVALID) from None
    except ValueError as error:  # also what is no UTF-8
        raise CommandError(f"{option} is no JSON: {error}", returncode=INVALID) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member occurs twice in one object")
    return members


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is too large a number")
    return number


def _sentence(error: JobsError) -> str:
    details = [f"{entry['pointer'] or 'the request'}: {entry['detail']}" for entry in getattr(error, "errors", [])]
    return str(error) + (f" ({'; '.join(details)})" if details else "")


def _complaints(error: ValidationError) -> list[str]:
    if hasattr(error, "message_dict"):
        return [f"{name}: {' '.join(messages)}" for name, messages in error.message_dict.items()]
    return list(error.messages)


def _database_sentence(error: DatabaseError) -> str:
    said = _first_line(error)
    if "no such table" in said or (isinstance(error, ProgrammingError) and "does not exist" in said):
        return "The database has not been set up: run `python manage.py migrate`."
    return f"The database does not answer: {said}"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
