"""What the search box above the jobs means: one word, understood by its form.

Every reading is answered by an index; nothing looks for a text in the middle of another.
"""

from __future__ import annotations

import uuid

from django.db import connection
from django.db.models import Q

from jobs import registry
from jobs.models import Job, JobTag

HELP = "An id, an idempotency key or its beginning, a type or a tag. To say which: id:, key:, type:, tag:"

LAST_CHARACTER = "\x7f"
"""Sorts after every character that a key may hold (printable ASCII)."""


def meaning(term: str) -> Q:
    """The filter that a search term stands for.

    Without a prefix: an id where it is one, else a known type, else a key that exists, else a tag that
    exists, else the beginning of a key.
    """
    term = term.strip()
    kind, colon, rest = term.partition(":")
    if colon and kind in _BY_KIND and rest:
        return _BY_KIND[kind](rest)
    if job_id(term) is not None:
        return _by_id(term)
    if any(job_type.name == term for job_type in registry.all_types()):
        return Q(type=term)
    if Job.objects.filter(key=term).exists():
        return Q(key=term)
    if JobTag.objects.filter(tag=term).exists():
        return _by_tag(term)
    return key_begins_with(term)


def key_begins_with(beginning: str) -> Q:
    """Keys with that beginning, itself included, by index on either database."""
    if connection.vendor == "sqlite":
        # LIKE does not use an index here, since it ignores case; columns compare byte by byte.
        return Q(key__gte=beginning, key__lt=beginning + LAST_CHARACTER)
    return Q(key__startswith=beginning)


def job_id(text: str) -> uuid.UUID | None:
    """The id that a text is, if it is one."""
    try:
        return uuid.UUID(text.strip())
    except ValueError:
        return None


def by_job(wanted: uuid.UUID) -> Q:
    """Rows that belong to one job."""
    return Q(job_id=wanted)


def _by_id(text: str) -> Q:
    wanted = job_id(text)
    return Q(pk=wanted) if wanted is not None else Q(pk__in=[])


def _by_tag(tag: str) -> Q:
    return Q(pk__in=JobTag.objects.filter(tag=tag).values("job_id"))


def _by_type(name: str) -> Q:
    return Q(type=name)


_BY_KIND = {"id": _by_id, "key": key_begins_with, "type": _by_type, "tag": _by_tag}
