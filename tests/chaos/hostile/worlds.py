"""Handlers that spoil their world, and handlers that look whether theirs is clean."""

from __future__ import annotations

import contextvars
import decimal
import multiprocessing
import os
import signal
import subprocess
import threading
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone, translation
from pydantic import BaseModel, ConfigDict

from jobs import JobContext, handler
from tests.chaos.hostile.answer import CODE, answer
from tests.chaos.ledgers import append, beat
from tests.support.processes import ROOT

WORLDS = "worlds.log"
"""`<job> <attempt> clean`, or what was found in its place."""

TENANT: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="none")
DEFAULTS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGALRM, signal.SIGUSR1)
"""Signals that a program which a handler starts must be able to die of. (Python itself ignores SIGPIPE and SIGXFSZ, and
`subprocess` restores both.)"""

PRECISION = 28


class World(BaseModel):
    model_config = ConfigDict(extra="forbid")

    program: bool = False
    method: str = ""


@handler("chaos-spoiler")
def spoiler(job: JobContext, payload: dict[str, Any]) -> str:
    """Spoil what belongs to a thread, and its session in the database."""
    if payload.get("mask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
    return _spoil(job)


@handler("chaos-spoiler-apart", isolate=True)
def spoiler_apart(job: JobContext, payload: dict[str, Any]) -> str:
    """Spoil what belongs to a process as well."""
    os.chdir("/")
    os.umask(0)
    os.environ["CHAOS_SPOILT"] = "1"
    signal.signal(signal.SIGCHLD, signal.SIG_IGN) if threading.current_thread() is threading.main_thread() else None
    return _spoil(job)


def _spoil(job: JobContext) -> str:
    beat(job, "begin")
    TENANT.set("somebody's")
    timezone.activate("Asia/Tokyo")
    translation.activate("de")
    decimal.getcontext().prec = 3
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET statement_timeout = 1")
            cursor.execute("RESET lock_timeout")
        else:
            cursor.execute("PRAGMA busy_timeout = 1")
    transaction.set_autocommit(False)
    beat(job, "end")
    return "spoilt"


@handler("chaos-world", payload=World)
def world(job: JobContext, payload: World) -> str:
    """Look around, in a process that is shared."""
    return _look(job, payload)


@handler("chaos-world-apart", payload=World, isolate=True)
def world_apart(job: JobContext, payload: World) -> str:
    """Look around, in a process of its own."""
    return _look(job, payload)


def _look(job: JobContext, payload: World) -> str:
    beat(job, "begin")
    found = _found(payload)
    append(WORLDS, f"{job.id} {job.attempt} {','.join(found).replace(' ', '_') or 'clean'}")
    beat(job, "end")
    return "looked"


def _found(payload: World) -> list[str]:
    right: dict[str, tuple[object, object]] = {
        "contextvar": (TENANT.get(), "none"),
        "time zone": (timezone.get_current_timezone_name(), settings.TIME_ZONE),
        "language": (translation.get_language(), settings.LANGUAGE_CODE),
        "decimal": (decimal.getcontext().prec, PRECISION),
        "folder": (os.getcwd(), str(ROOT)),
        "environment": (os.environ.get("CHAOS_SPOILT"), None),
        "autocommit": (connection.get_autocommit(), True),
        "transaction": (connection.in_atomic_block, False),
        "session": (_session(), _stated_session()),
    }
    found = [f"{name}={is_so}" for name, (is_so, should) in right.items() if is_so != should]
    if payload.program:
        found += _programs()
    if payload.method:
        found += _multiprocessing(payload.method)
    return found


def _session() -> str:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT current_setting('statement_timeout') || '/' || current_setting('lock_timeout')")
        else:
            cursor.execute("PRAGMA busy_timeout")
        return str(cursor.fetchone()[0])


def _stated_session() -> str:
    return "0/2s" if connection.vendor == "postgresql" else "5000"


def _programs() -> list[str]:
    """Ignored and blocked signals of a program that is started here, and what SIGTERM and SIGINT do to it."""
    done = subprocess.run(["grep", "-E", "Sig(Ign|Blk)", "/proc/self/status"], capture_output=True, text=True)
    masks = {name: int(mask, 16) for name, mask in (line.split(":") for line in done.stdout.splitlines())}
    found = [f"{what}:{number.name}" for what, mask in masks.items() for number in DEFAULTS if mask & 1 << (number - 1)]
    for number in (signal.SIGTERM, signal.SIGINT):
        program = subprocess.Popen(["sleep", "5"])
        program.send_signal(number)
        try:
            code = program.wait(3)
        except subprocess.TimeoutExpired:
            program.kill()
            code = program.wait()
        if code != -number:
            found.append(f"{number.name} ended a program by {code}")
    return found


def _multiprocessing(method: str) -> list[str]:
    try:
        process = multiprocessing.get_context(method).Process(target=answer)
        process.start()
        process.join(20)
    except Exception as error:
        return [f"multiprocessing:{method}:{type(error).__name__}"]
    return [] if process.exitcode == CODE else [f"multiprocessing:{method}:{process.exitcode}"]
