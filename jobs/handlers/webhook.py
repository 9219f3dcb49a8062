"""webhook: delivers a signed callback (standardwebhooks.com), again and again under one id until it is taken."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import hmac
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import orjson
from django.utils.crypto import salted_hmac
from pydantic import BaseModel, ConfigDict, Field, field_validator

from jobs.addresses import add_links, mounted_at
from jobs.conf import conf
from jobs.context import JobContext
from jobs.documents import isotime
from jobs.errors import Permanent, Retry
from jobs.handlers import outbound
from jobs.registry import handler
from jobs.retry import Backoff
from jobs.transitions.callbacks import CALLBACK_CLIENT

TEMPORARY = frozenset({408, 425, 429})
"""Refusals by the client's fault that pass by themselves: request timeout, too early, too many requests."""

MOST_WAIT_S = 86_400.0
"""Longest Retry-After that is honoured."""

SECRET_PREFIX = "whsec_"  # noqa: S105 - how Standard Webhooks marks a base64 secret


class WebhookPayload(BaseModel):
    """What a finished job's callback is submitted with; `job` is its status document."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(max_length=2000)
    event: str = Field(min_length=1, max_length=100)
    job: dict[str, Any] = {}

    @field_validator("url")
    @classmethod
    def _is_usable(cls, url: str) -> str:
        try:
            outbound.checked_url(url)
        except Permanent as error:
            raise ValueError(error.message) from None
        return url


class NotTaken(Exception):
    """The receiver answered, but did not take the callback."""


@handler(
    "webhook",
    payload=WebhookPayload,
    backoff=Backoff(base_s=5, cap_s=3600),
    max_attempts=10,
    timeout_s=60,
)
def webhook(job: JobContext, payload: WebhookPayload) -> dict[str, int]:
    """Deliver a signed callback by POST. The receiver tells repetitions by the header webhook-id."""
    with job.effect("deliver", on_doubt="repeat") as effect:
        if effect.pending:
            body = _body(job, payload)
            answer = outbound.request("POST", payload.url, body=body, headers=headers(effect.key, body))
            job.log("the receiver answered %d", answer.status)
            if not 200 <= answer.status < 300:
                effect.not_done()
                raise _refusal(answer)
            effect.result = answer.status
    return {"status": effect.result}


def _body(job: JobContext, payload: WebhookPayload) -> bytes:
    """The same in every attempt: receivers may compare."""
    return orjson.dumps({"type": payload.event, "timestamp": isotime(job.created_at), "data": _document(job, payload)})


def _document(job: JobContext, payload: WebhookPayload) -> dict[str, Any]:
    """The finished job's document, with its links where it comes from us; others may have submitted any document."""
    return add_links({**payload.job}, mounted_at()) if job.client == CALLBACK_CLIENT else payload.job


def headers(message_id: str, body: bytes) -> dict[str, str]:
    """The headers of Standard Webhooks; the signature covers id, time and body."""
    sent_at = str(int(time.time()))
    signed = b".".join((message_id.encode(), sent_at.encode(), body))
    signature = base64.b64encode(hmac.digest(secret(), signed, hashlib.sha256)).decode()
    return {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": sent_at,
        "webhook-signature": f"v1,{signature}",
    }


def secret() -> bytes:
    """The key to sign with: JOBS_WEBHOOK_SECRET (base64 behind `whsec_`, else as it is), or derived."""
    stated = conf().webhook_secret
    if not stated:
        return salted_hmac("jobs.webhook", b"", algorithm="sha256").digest()
    if stated.startswith(SECRET_PREFIX):
        try:
            return base64.b64decode(stated.removeprefix(SECRET_PREFIX), validate=True)
        except binascii.Error:
            raise Permanent("bad-secret", "JOBS_WEBHOOK_SECRET begins with whsec_, but is no base64") from None
    return stated.encode()


def _refusal(answer: outbound.Answer) -> Exception:
    said = f"the receiver answered {answer.status}"
    if 400 <= answer.status < 500 and answer.status not in TEMPORARY:
        return Permanent("callback-refused", said)
    after_s = retry_after_s(answer.headers)
    return NotTaken(said) if after_s is None else Retry(after_s, said)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that the header Retry-After asks for, as a number or as a date; None without a sensible one."""
    value = next((value for name, value in headers.items() if name.lower() == "retry-after"), "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), MOST_WAIT_S)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return min(max((moment - dt.datetime.now(dt.UTC)).total_seconds(), 0.0), MOST_WAIT_S)
