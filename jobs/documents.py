"""The status document: one shape for API answers, lists, `--json`, and the mirror in Redis. Links are added by whoever shows it."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobs.models import Job


def isotime(moment: dt.datetime | None) -> str | None:
    """RFC 3339, UTC, milliseconds."""
    if moment is None:
        return None
    return moment.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def error_document(code: str | None, message: str | None) -> dict[str, str] | None:
    return None if code is None else {"code": code, "message": message or ""}


def status_document(job: Job) -> dict[str, Any]:
    """The contract's status document of a row, but for its links (`jobs.addresses`)."""
    return {
        "id": str(job.id),
        "type": job.type,
        "status": job.status,
        "attempt": job.attempt,
        "failures": job.failures,
        "crashes": job.crashes,
        "maxAttempts": job.max_attempts,
        "queue": job.queue,
        "progress": job.progress,
        "createdAt": isotime(job.created_at),
        "runAfter": isotime(job.run_after),
        "startedAt": isotime(job.started_at),
        "finishedAt": isotime(job.finished_at),
        "result": job.result,
        "error": error_document(job.error_code, job.error_message),
        "idempotencyKey": job.key,
    }
