"""Handlers that burden others: by an open transaction, a long statement, a large result."""

from __future__ import annotations

import threading
import time
from typing import Any

from django.db import connection, transaction

from jobs import JobContext, handler
from tests.chaos.ledgers import beat

HELD_S = 30.0
"""Longer than others may be held up by what an attempt leaves open."""

RESULT_BYTES = 250_000


@handler("chaos-large")
def large(job: JobContext, payload: dict[str, Any]) -> str:
    """Return a large result."""
    beat(job, "begin")
    beat(job, "end")
    return "x" * RESULT_BYTES


@handler("chaos-left-behind")
def left_behind(job: JobContext, payload: dict[str, Any]) -> str:
    """Leave a thread behind that holds a transaction with a row of the ledger."""
    beat(job, "begin")
    holds = threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("DELETE FROM chaos_ledger WHERE job_id = %s", [str(job.id)])
                holds.set()
                time.sleep(HELD_S)
        except Exception:
            pass  # somebody ended the transaction, which is what is hoped for
        finally:
            holds.set()
            connection.close()

    threading.Thread(target=hold, daemon=True).start()
    holds.wait(10)
    beat(job, "end")
    return "left"


@handler("chaos-long-statement", isolate=True, max_attempts=2)
def long_statement(job: JobContext, payload: dict[str, Any]) -> str:
    """Leave the database computing on this job's locked row, in the first attempt."""
    beat(job, "begin")
    if job.attempt == 1:
        with job.effect("rows", transactional=True) as effect:
            if effect.pending:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_sleep(%s)", [HELD_S])
    beat(job, "end")
    return "over"
