"""What surrounds the work: settings, disk, clocks, mail, the admin's static files."""

from __future__ import annotations

import datetime as dt
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from smtplib import SMTPException

from django.apps import apps
from django.conf import settings
from django.core import checks, mail
from django.core.mail.backends.smtp import EmailBackend

from jobs import queue
from jobs.conf import conf
from jobs.doctor.findings import Finding, failure, first_line, ok, warning
from jobs.models import ClockStep, clock

DISK_FREE_MIN_BYTES = 512 * 2**20

STEP_SHOWN = dt.timedelta(days=1)
"""How long a step of the clock is shown."""

SKEW_MAX_S = 2.0
"""Between this machine and the database or Redis. Nothing is decided by it, but people read times."""

MAIL_S = 3
"""For the mail server's answer."""

ADMINS_STYLE = "admin/css/base.css"


def project() -> Iterator[Finding]:
    """The system checks, and what no check can know."""
    messages = [message for message in checks.run_checks() if not message.is_silenced()]
    for message in messages:
        make = failure if message.level >= checks.ERROR else warning
        yield make(str(message.id), f"{message.msg} ({message.id})", message.hint or "see docs/settings.md")
    found = [] if any(message.level >= checks.ERROR for message in messages) else list(_for_production())
    yield from found
    if not messages and not found:
        mode = "development (DEBUG=1)" if settings.DEBUG else "production"
        yield ok(f"all settings are valid; {mode}")


def _for_production() -> Iterator[Finding]:
    if settings.DEBUG:
        return
    if conf().demo:
        yield warning("demo-on", "JOBS_DEMO is on, so that clients may submit `echo`", "unset JOBS_DEMO")
    key = settings.SECRET_KEY
    if not conf().webhook_secret and (key.startswith("django-insecure-") or len(key) < 32):
        yield warning(
            "callback-secret",
            "callbacks are signed with a key that is derived from a weak SECRET_KEY",
            "set JOBS_WEBHOOK_SECRET, or a SECRET_KEY of at least 50 random characters",
        )


def disk() -> Iterator[Finding]:
    stated, folder = conf().data_dir, conf().existing_dir
    free = shutil.disk_usage(folder).free
    sentence = f"{free // 2**20:,} MiB free for {stated}"
    if not os.access(folder, os.W_OK):
        yield failure(
            "disk-read-only",
            f"nothing may be written into {folder}",
            "mend its rights, or set JOBS_DATA_DIR to another folder",
        )
    elif free < DISK_FREE_MIN_BYTES:
        yield failure("disk-full", sentence, "free some space, or move JOBS_DATA_DIR to a larger disk")
    else:
        yield ok(sentence)


def clocks() -> Iterator[Finding]:
    skews = {"database": (clock.now() - dt.datetime.now(dt.UTC)).total_seconds()}
    if queue.is_reachable():
        seconds, micros = queue.broker().time()
        skews["Redis"] = seconds + micros / 1e6 - dt.datetime.now(dt.UTC).timestamp()
    for name, skew_s in skews.items():
        if abs(skew_s) > SKEW_MAX_S:
            sentence = f"this machine's clock differs from that of the {name} by {skew_s:.1f} s"
            yield warning("clock-skew", sentence, "keep the machines' clocks together by NTP")
            return
    if step := ClockStep.objects.filter(at__gte=clock.now() - STEP_SHOWN).first():
        yield warning(
            "clock-step",
            f"the database's clock stepped by {step.step_s:+.1f} s, as a scheduler saw {step.at:%Y-%m-%d %H:%M} UTC",
            "look after its time synchronisation, and at the schedules' slots",
        )
        return
    yield ok(f"agrees with {' and '.join(skews)}")


def mails() -> Iterator[Finding]:
    """As far as that harms nobody: a connection with its greeting, TLS and login, and no mail."""
    backend = mail.get_connection(fail_silently=False)
    if isinstance(backend, EmailBackend):
        yield from _server(backend)
        return
    folder = Path(str(getattr(settings, "EMAIL_FILE_PATH", None) or ""))
    if "filebased" in type(backend).__module__ or type(backend).__name__ == "OutboxBackend":
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            yield failure(
                "mail-folder",
                f"mails cannot be written: {existing} is not a folder that may be written",
                "let EMAIL_URL name a folder",
            )
            return
        yield ok(f"mails become files in {folder}")
        return
    yield ok(f"{type(backend).__module__} sends mails; it is not tried")


def _server(backend: EmailBackend) -> Iterator[Finding]:
    backend.timeout = min(backend.timeout or MAIL_S, MAIL_S)
    where = f"{backend.host}:{backend.port}"
    try:
        backend.open()
        backend.close()
    except (OSError, SMTPException) as error:
        # Nobody may have stated this address: it is the default, and there may be no mails to send.
        make = warning if backend.host == "localhost" else failure
        yield make(
            "mail-server",
            f"the mail server {where} does not take us: {first_line(error)}",
            "mend EMAIL_URL, or bring the mail server back",
        )
        return
    yield ok(f"the mail server {where} answers")


def static_files() -> Iterator[Finding]:
    """The admin's style sheet, as a browser would ask for it."""
    if not (apps.is_installed("django.contrib.staticfiles") and apps.is_installed("django.contrib.admin")):
        yield ok("no admin to serve them for")
        return
    from django.contrib.staticfiles import finders
    from django.contrib.staticfiles.storage import staticfiles_storage

    try:
        staticfiles_storage.url(ADMINS_STYLE)
    except ValueError as error:  # a manifest that does not have it
        yield warning(
            "static-missing",
            f"the admin's pages will be bare: {first_line(error)}",
            "python manage.py collectstatic --noinput",
        )
        return
    root = getattr(settings, "STATIC_ROOT", None)
    by_finders = settings.DEBUG or getattr(settings, "WHITENOISE_USE_FINDERS", False)
    if (by_finders and finders.find(ADMINS_STYLE)) or (root and (Path(root) / ADMINS_STYLE).is_file()):
        yield ok("the admin's are found")
    else:
        yield warning(
            "static-missing",
            f"the admin's pages will be bare: {ADMINS_STYLE} is not in STATIC_ROOT",
            "python manage.py collectstatic --noinput",
        )
