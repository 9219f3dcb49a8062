"""What the search box above the jobs means: one word, understood by its form.

Every reading is answered by an index; nothing looks for a text in the middle of another.
"""

from __future__ import annotations

import uuid

from django.db.models import Q, QuerySet

from jobs import registry
from jobs.database import connection
from jobs.models import IdempotencyKey, JobTag

HELP = "An id, an idempotency key or its beginning, a type or a tag. To say which: id:, key:, type:, tag:"

BEGINNING_MOST = 1_000
"""Jobs that a key's beginning finds: sorting half a million of them would take seconds."""

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
    if IdempotencyKey.objects.filter(key=term).exists():
        return Q(pk__in=IdempotencyKey.objects.filter(key=term).order_by().values("job_id"))
    if JobTag.objects.filter(tag=term).exists():
        return _by_tag(term)
    return _by_beginning(term)


def key_begins_with(beginning: str) -> Q:
    """Keys with that beginning, itself included, by index on either database."""
    if connection.vendor == "sqlite":
        # LIKE does not use an index here, since it ignores case; columns compare byte by byte.
        return Q(key__gte=beginning, key__lt=beginning + LAST_CHARACTER)
    return Q(key__startswith=beginning)


def clients_of(table: str, most: int) -> list[str]:
    """The different clients in a table whose index begins with them: one look into the index for each,
    where DISTINCT would read all of it."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH RECURSIVE found (client) AS (SELECT MIN(client) FROM {table} UNION ALL"
            f" SELECT (SELECT MIN(client) FROM {table} WHERE client > found.client) FROM found"
            " WHERE found.client IS NOT NULL) SELECT client FROM found WHERE client IS NOT NULL LIMIT %s",
            [most],
        )
        return [client for (client,) in cursor.fetchall()]


def idempotency_key(term: str) -> Q:
    """The keys that a term means: those of a job by its id, else that key, else those that begin so."""
    wanted = job_id(term)
    if wanted is not None:
        return Q(job_id=wanted)
    if IdempotencyKey.objects.filter(key=term).exists():
        return Q(key=term)
    return Q(pk__in=_beginning_with(term).values("pk")[:BEGINNING_MOST])


def job_id(text: str) -> uuid.UUID | None:
    """The id that a text is, if it is one."""
    try:
        return uuid.UUID(text.strip())
    except ValueError:
        return None


def _by_id(text: str) -> Q:
    wanted = job_id(text)
    return Q(pk=wanted) if wanted is not None else Q(pk__in=[])


def _by_beginning(beginning: str) -> Q:
    return Q(pk__in=_beginning_with(beginning).values("job_id")[:BEGINNING_MOST])


def _beginning_with(beginning: str) -> QuerySet[IdempotencyKey]:
    return IdempotencyKey.objects.filter(key_begins_with(beginning)).order_by()


def _by_tag(tag: str) -> Q:
    return Q(pk__in=JobTag.objects.filter(tag=tag).values("job_id"))


def _by_type(name: str) -> Q:
    return Q(type=name)


_BY_KIND = {"id": _by_id, "key": _by_beginning, "type": _by_type, "tag": _by_tag}
