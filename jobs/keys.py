"""Idempotency keys: look up, insert, compare, count replays. Unique per (client, key)."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import orjson
from django.db import connection

from jobs import canonical
from jobs.envelope import JobRequest
from jobs.models.clock import NOW, parse
from jobs.sql import as_table, db_id, is_postgresql, marks, py_id, run, table

Pair = tuple[str, str]
"""(client, key)."""

CHUNK = 500

_COLUMNS = "client, key, job_id, salt, fingerprint, created_at, tombstone"


@dataclass(frozen=True, slots=True)
class Known:
    """A key that was used before, by this request or by another."""

    job_id: uuid.UUID
    salt: bytes
    fingerprint: bytes
    created_at: dt.datetime | None
    tombstone: dict[str, Any] | None = None

    def is_same_request(self, request: JobRequest) -> bool:
        return self.fingerprint == canonical.fingerprint(self.salt, request.canonical)


def known_keys(pairs: Iterable[Pair]) -> dict[Pair, Known]:
    """Those of the keys that were used before."""
    wanted = sorted(set(pairs))
    found: dict[Pair, Known] = {}
    with connection.cursor() as cursor:
        for start in range(0, len(wanted), CHUNK):
            chunk = wanted[start : start + CHUNK]
            cursor.execute(
                f"SELECT {_COLUMNS} FROM ({table('vclient text', 'vkey text')}) AS v {_of_each()}",
                [as_table(chunk)],
            )
            for client, key, job_id, salt, fingerprint, created_at, tombstone in cursor.fetchall():
                found[client, key] = Known(
                    py_id(job_id),
                    bytes(salt),
                    bytes(fingerprint),
                    parse(created_at),
                    None if tombstone is None else orjson.loads(tombstone),
                )
    return found


def _of_each() -> str:
    """SQL that joins the key of each given pair. OFFSET 0 keeps PostgreSQL, which takes one pair for a hundred, from
    joining them by reading the whole table."""
    if not is_postgresql():
        return "JOIN jobs_idempotencykey ON client = vclient AND key = vkey"
    one = f"SELECT {_COLUMNS} FROM jobs_idempotencykey WHERE client = vclient AND key = vkey OFFSET 0"
    return f"CROSS JOIN LATERAL ({one}) AS known"


def insert_keys(keys: Sequence[tuple[JobRequest, uuid.UUID]]) -> set[uuid.UUID]:
    """Insert a key for each (request, id of its job), in the order of the keys; the ids that won.

    On PostgreSQL an insert waits for a rival that has not committed yet, and loses if it commits.
    The common order keeps two batches from waiting for each other.
    """
    ordered = sorted(keys, key=lambda item: (item[0].client, item[0].key or ""))
    won: set[uuid.UUID] = set()
    for start in range(0, len(ordered), CHUNK):
        chunk = ordered[start : start + CHUNK]
        given: list[tuple[Any, ...]] = []
        secret = bytearray()  # JSON has no bytes: each row says where its own lie
        salts = canonical.new_salts(len(chunk))
        for (request, job_id), salt in zip(chunk, salts, strict=True):
            given.append((request.client, request.key, db_id(job_id), len(secret) + 1))
            secret += salt + canonical.fingerprint(salt, request.canonical)
        inserted = {raw[0] for raw in run(_insert_sql(), [bytes(secret), bytes(secret), as_table(given)])}
        won.update(job_id for (_, job_id), values in zip(chunk, given, strict=True) if values[2] in inserted)
    return won


@cache
def _insert_sql() -> str:
    source = table("vclient text", "vkey text", "vid uuid", "vat int")
    return (
        "INSERT INTO jobs_idempotencykey (client, key, job_id, salt, fingerprint, algorithm, replays, created_at)"
        f" SELECT vclient, vkey, vid, substr(%s, vat, {canonical.SALT_BYTES}),"
        f" substr(%s, vat + {canonical.SALT_BYTES}, 32), {canonical.ALGORITHM}, 0, {NOW} FROM ({source}) AS v"
        " WHERE true ON CONFLICT (client, key) DO NOTHING RETURNING job_id"
    )


def note_replays(pairs: Sequence[Pair]) -> None:
    """Count replays, in a transaction of its own: a counter must not make an accept wait for another."""
    counts: dict[Pair, int] = {}
    for pair in pairs:
        counts[pair] = counts.get(pair, 0) + 1
    with connection.cursor() as cursor:
        for (client, key), count in sorted(counts.items()):
            cursor.execute(
                f"UPDATE jobs_idempotencykey SET replays = replays + %s, last_replayed_at = {NOW}"
                " WHERE client = %s AND key = %s",
                [count, client, key],
            )


def first_requests(ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, dict[str, Any]]:
    """What was sent first, of the jobs that are still kept: {type, payload, and the options}."""
    if not ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id, type, payload, options FROM jobs_job WHERE id IN ({marks(len(ids))})", [db_id(i) for i in ids]
        )
        return {
            py_id(raw_id): {"type": type_name, "payload": orjson.loads(payload), **orjson.loads(options)}
            for raw_id, type_name, payload, options in cursor.fetchall()
        }
