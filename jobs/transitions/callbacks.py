"""Callbacks: a job that reached a final status and has a callback URL brings a `webhook` job with it.

The new job is inserted in the commit that ended the first one, so a callback is as durable as the
outcome that it tells of.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from jobs import registry
from jobs.lifecycle import FINAL, Actor
from jobs.rows import Row
from jobs.sql import new_id
from jobs.transitions.insert import NewJob, insert

CALLBACK_TYPE = "webhook"
CALLBACK_CLIENT = "system:callback"


def insert_callbacks(rows: Sequence[Row]) -> list[Row]:
    """Rows of the new webhook jobs, one for each row that is final and has a callback URL."""
    called_back = [row for row in rows if row.callback_url and row.status in FINAL]
    if not called_back:
        return []
    webhook = registry.get(CALLBACK_TYPE)
    return insert(
        [
            NewJob(
                id=new_id(),
                type=CALLBACK_TYPE,
                queue=webhook.queue,
                client=CALLBACK_CLIENT,
                source="callback",
                key=None,
                payload=orjson.dumps(
                    {"url": row.callback_url, "event": f"job.{row.status}", "job": row.document}
                ).decode(),
                options="{}",
                callback_url=None,
                max_attempts=webhook.max_attempts,
                max_crashes=webhook.max_crashes,
                timeout_s=webhook.timeout_s,
                actor=Actor.WORKER,
                who=f"callback of {row.id}",
            )
            for row in called_back
        ]
    )
