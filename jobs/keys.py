"""Idempotency keys: look up, insert, compare, count replays. Unique per (client, key)."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import orjson

from jobs import canonical
from jobs.database import connection
from jobs.envelope import JobRequest
from jobs.models.clock import NOW, parse
from jobs.sql import as_table, db_id, for_update, is_postgresql, marks, py_id, run, table

Pair = tuple[str, str]
"""(client, key)."""

NewKey = tuple[str, str, uuid.UUID, bytes]
"""(client, key, id of its job, canonical request). Sorted, they are in the order in which everybody inserts keys."""

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


def insert_keys(keys: Sequence[NewKey]) -> set[uuid.UUID]:
    """Insert keys, which are given in their order; the ids that won.

    On PostgreSQL an insert waits for a rival that has not committed yet, and loses if it commits.
    The common order keeps two batches from waiting for each other.
    """
    won: set[uuid.UUID] = set()
    for start in range(0, len(keys), CHUNK):
        chunk = keys[start : start + CHUNK]
        given = [(client, key, db_id(job_id), nth) for nth, (client, key, job_id, _) in enumerate(chunk)]
        secrets = secrets_of(chunk)
        inserted = {raw[0] for raw in run(_insert_sql(), [secrets, secrets, as_table(given)])}
        won.update(key[2] for key, values in zip(chunk, given, strict=True) if values[2] in inserted)
    return won


def secrets_of(keys: Sequence[NewKey]) -> bytes:
    """Salt and fingerprint of each, one after the other. JSON has no bytes: a row says by number which are its own."""
    salts = canonical.new_salts(len(keys))
    return b"".join([salt + canonical.fingerprint(salt, key[3]) for salt, key in zip(salts, keys, strict=True)])


def inserting(rows: str) -> str:
    """SQL that inserts a key for each of the rows: `vclient, vkey, vid`, and as `vnth` the number of its secrets, from 0.
    It takes the secrets twice, and returns the ids of the jobs whose key was free."""
    salt, fingerprint = canonical.SALT_BYTES, canonical.FINGERPRINT_BYTES
    at = f"vnth * {salt + fingerprint} + 1"
    return (
        "INSERT INTO jobs_idempotencykey (client, key, job_id, salt, fingerprint, algorithm, replays, created_at)"
        f" SELECT vclient, vkey, vid, substr(%s, {at}, {salt}), substr(%s, {at} + {salt}, {fingerprint}),"
        f" {canonical.ALGORITHM}, 0, {NOW} FROM {rows} ON CONFLICT (client, key) DO NOTHING RETURNING job_id"
    )


@cache
def _insert_sql() -> str:
    source = table("vclient text", "vkey text", "vid uuid", "vnth int")
    return inserting(f"({source}) AS v WHERE true")  # without WHERE, SQLite takes ON CONFLICT for the join's


def note_replays(pairs: Sequence[Pair], *, may_wait: bool = True) -> int:
    """Count replays, in a transaction of its own: a counter must not make an accept wait for another. How many were
    counted: unless it `may_wait`, those of keys that somebody else has locked are left out."""
    counts: dict[Pair, int] = {}
    for pair in pairs:
        counts[pair] = counts.get(pair, 0) + 1
    counted = 0
    with connection.cursor() as cursor:
        for (client, key), count in sorted(counts.items()):
            cursor.execute(
                f"UPDATE jobs_idempotencykey SET replays = replays + %s, last_replayed_at = {NOW} WHERE id ="
                " (SELECT id FROM jobs_idempotencykey WHERE client = %s AND key = %s"
                f"{for_update(skip_locked=not may_wait)})",
                [count, client, key],
            )
            counted += count * cursor.rowcount
    return counted


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
