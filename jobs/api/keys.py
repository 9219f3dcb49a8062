"""API keys: made, rotated, revoked, and recognised.

A key is `jk_<prefix>_<secret>`. The secret is shown once; its SHA-256 is stored (256 random bits need no
slow hash) and compared in constant time. What the database says of a prefix is kept for CACHE_S in each
process, so a revocation acts everywhere within seconds and the usual request asks no database.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import re
import secrets
import string
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.db import DatabaseError

from jobs import owner
from jobs.database import atomic
from jobs.lifecycle import Actor
from jobs.models import ApiKey, clock
from jobs.sql import is_outage

SCOPES = {
    "jobs:create": "submit jobs",
    "jobs:read": "read jobs, types, queues and statistics",
    "jobs:cancel": "cancel jobs",
    "jobs:retry": "run failed and cancelled jobs again",
    "jobs:all": "see and act on the jobs of every client",
    "schedules:manage": "read schedules, with their payloads; run, pause and resume them",
    "queues:manage": "pause and resume queues",
}
USUAL_SCOPES = ("jobs:create", "jobs:read", "jobs:cancel", "jobs:retry")

CLIENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
TOKEN = re.compile(r"jk_([A-Za-z0-9]{8})_([A-Za-z0-9_-]{43})")
ALPHABET = string.ascii_letters + string.digits

CACHE_S = 3.0
CACHE_SIZE = 10_000
"""Entries; when there are more the cache begins anew. Only keys that exist are kept."""

USED_EVERY = dt.timedelta(minutes=1)
"""How exact `last_used_at` is: a write per request would cost more than the request."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks: a client by its key, or a member of staff by the admin's session."""

    client: str
    scopes: frozenset[str]
    who: str
    """The name written into events."""

    actor: Actor = Actor.CLIENT
    is_unlimited: bool = False
    is_authenticated: bool = field(default=True, init=False)  # what Django and DRF ask of a user

    @property
    def sees_all(self) -> bool:
        return "jobs:all" in self.scopes

    def sees(self, client: str) -> bool:
        return self.sees_all or client == self.client


def create(
    client: str,
    scopes: Sequence[str] = USUAL_SCOPES,
    *,
    expires_at: dt.datetime | None = None,
    is_unlimited: bool = False,
) -> tuple[ApiKey, str]:
    """A new key and its text, which nobody can show again. Raises ValueError, in words for people."""
    if not CLIENT.fullmatch(client) or client.lower().startswith("system"):
        raise ValueError(
            f"{client!r} is no client name: 1 to 64 letters, digits, '.', '_', '@' and '-', not beginning with 'system'"
        )
    if unknown := sorted(set(scopes) - SCOPES.keys()):
        raise ValueError(f"there is no scope {', '.join(unknown)}; there are {', '.join(SCOPES)}")
    if not scopes:
        raise ValueError("a key without scopes may do nothing")
    if expires_at is not None and expires_at <= clock.now():
        raise ValueError("the key would have expired already")
    prefix = "".join(secrets.choice(ALPHABET) for _ in range(8))
    secret = secrets.token_urlsafe(32)
    key = ApiKey.objects.create(
        prefix=prefix,
        secret_hash=_digest(secret),
        client=client,
        scopes=[scope for scope in SCOPES if scope in scopes],
        is_unlimited=is_unlimited,
        expires_at=expires_at,
    )
    return key, f"jk_{prefix}_{secret}"


def rotate(key: ApiKey, *, overlap_s: float = 86_400) -> tuple[ApiKey, str]:
    """A new key for the same client with the same rights; the old one works for `overlap_s` more.

    Raises ValueError when the old key is revoked or has expired.
    """
    if not _is_valid(key, clock.now()):
        raise ValueError(f"the key {key.prefix} is revoked or has expired: create a new one")
    with atomic():
        new, text = create(key.client, key.scopes, expires_at=key.expires_at, is_unlimited=key.is_unlimited)
        end = clock.now() + dt.timedelta(seconds=overlap_s)
        key.expires_at = min(key.expires_at or end, end)
        key.save(update_fields=["expires_at"])
    _forget(key.prefix)
    return new, text


def revoke(key: ApiKey) -> None:
    """The key stops working: at once here, within CACHE_S in other processes. Twice changes nothing."""
    ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=clock.now())
    _forget(key.prefix)


# --- recognising ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Known:
    secret_hash: bytes
    identity: Identity
    ends: float
    """When it expires, by `time.monotonic`: the database's clock said how long that is."""

    read_at: float

    @property
    def is_fresh(self) -> bool:
        return time.monotonic() - self.read_at < CACHE_S


_cache: dict[str, _Known] = {}


class NotCached(Exception):
    """Only the database knows this key."""


def identify(text: str, *, may_read: bool = True) -> Identity | None:
    """The identity of a key, or None: malformed, unknown, revoked, expired, or with another secret.

    Raises NotCached where the database has to be asked and `may_read` is not set.
    """
    match = TOKEN.fullmatch(text)
    if match is None:
        return None
    prefix, secret = match.groups()
    known = _cache.get(prefix)
    if known is None or not known.is_fresh:
        if not may_read:
            raise NotCached
        known = _read(prefix)
    if known is None or not hmac.compare_digest(known.secret_hash, _digest(secret)):
        return None
    return known.identity if time.monotonic() < known.ends else None


def _read(prefix: str) -> _Known | None:
    owner.refresh()  # each request comes by here, and may read a status from Redis next
    key = ApiKey.objects.annotate(now=clock.DbNow()).filter(prefix=prefix).first()
    if key is None or not _is_valid(key, key.now):
        _forget(prefix)
        return None
    identity = Identity(key.client, frozenset(key.scopes), key.client, is_unlimited=key.is_unlimited)
    read_at = time.monotonic()
    left_s = (key.expires_at - key.now).total_seconds() if key.expires_at else float("inf")
    known = _Known(bytes(key.secret_hash), identity, read_at + left_s, read_at)
    if len(_cache) >= CACHE_SIZE:
        _cache.clear()
    _cache[prefix] = known
    _note_use(key, key.now)
    return known


def _note_use(key: ApiKey, now: dt.datetime) -> None:
    if key.last_used_at is not None and now - key.last_used_at < USED_EVERY:
        return
    try:
        with atomic():
            free = ApiKey.objects.select_for_update(skip_locked=True).filter(pk=key.pk)  # nobody waits for this
            ApiKey.objects.filter(pk__in=free.values("pk")).update(last_used_at=now)
    except DatabaseError as error:
        if not is_outage(error):
            raise  # a database that takes no writes still answers questions


def _is_valid(key: ApiKey, now: dt.datetime) -> bool:
    """By the database's clock."""
    return key.revoked_at is None and (key.expires_at is None or key.expires_at > now)


def _forget(prefix: str) -> None:
    _cache.pop(prefix, None)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
