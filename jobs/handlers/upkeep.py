"""maintenance and health-check: what the system does for itself, by schedules that ship with it."""

from __future__ import annotations

import dataclasses
import http.client
import shutil
import time
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from jobs import prune, queue, reconcile
from jobs.conf import conf
from jobs.context import JobContext
from jobs.database import connection
from jobs.errors import Interrupted, Permanent
from jobs.handlers import outbound
from jobs.registry import handler
from jobs.schedules import declare

LEAST_FREE = 0.05
"""Part of the disk that must be free: below it a database soon cannot write."""

LEAST_FREE_BYTES = 100 * 2**20


class Nothing(BaseModel):
    """A payload without members."""

    model_config = ConfigDict(extra="forbid")


class HealthCheck(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: str | None = Field(None, max_length=2000)

    @field_validator("url")
    @classmethod
    def _is_usable(cls, url: str | None) -> str | None:
        if url is not None:
            try:
                outbound.checked_url(url)
            except Permanent as error:
                raise ValueError(error.message) from None
        return url


class Unhealthy(Exception):
    """Something that the system needs is not well."""


@handler("maintenance", payload=Nothing, queue="low", timeout_s=3600)
def maintenance(job: JobContext, payload: Nothing) -> dict[str, Any]:
    """Delete by retention what is no longer kept, and repair what Redis lost."""

    def tell(counts: prune.Counts) -> None:
        job.progress(counts.jobs, message=f"pruned {counts.jobs} jobs and {counts.keys} keys")
        if job.should_stop:
            raise Interrupted("told to stop; the next run goes on from here")

    pruned = prune.prune(on_chunk=tell)
    report = reconcile.reconcile()
    return {"pruned": dataclasses.asdict(pruned), "reconciled": dataclasses.asdict(report)}


@handler("health-check", payload=HealthCheck, max_attempts=2, timeout_s=60)
def health_check(job: JobContext, payload: HealthCheck) -> dict[str, Any]:
    """Probe the database, the broker, the disk and, when given, a URL. Fails when one is not well."""
    probes: dict[str, Callable[[], dict[str, Any]]] = {"database": _database, "broker": _broker, "disk": _disk}
    if url := payload.url:
        probes["url"] = lambda: _url(url)
    found: dict[str, Any] = {}
    ill: list[str] = []
    for name, probe in probes.items():
        began = time.monotonic()
        try:
            facts = probe()
        except Exception as error:  # whatever it is, the other probes are wanted too
            ill.append(f"{name}: {str(error).strip() or type(error).__name__}")
            continue
        found[name] = {"ok": True, "ms": round((time.monotonic() - began) * 1000, 1), **facts}
        job.log("%s is well", name)
    if ill:
        raise Unhealthy("; ".join(ill))
    return found


def _database() -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchone()
    return {"vendor": connection.vendor}


def _broker() -> dict[str, Any]:
    queue.broker().ping()
    return {}


def _disk() -> dict[str, Any]:
    usage = shutil.disk_usage(conf().existing_dir)
    if usage.free < min(LEAST_FREE * usage.total, LEAST_FREE_BYTES):
        raise Unhealthy(f"only {usage.free // 2**20} MiB are free in {conf().data_dir}")
    return {"freeBytes": usage.free}


def _url(url: str) -> dict[str, Any]:
    try:
        answer = outbound.request("GET", url)
    except http.client.HTTPException as error:
        raise Unhealthy(f"no HTTP answer ({type(error).__name__})") from error
    if answer.status >= 400:
        raise Unhealthy(f"answered {answer.status}")
    return {"status": answer.status}


declare("maintenance", type="maintenance", cron="0 * * * *", overlap="skip")
declare("health-check", type="health-check", cron="*/5 * * * *", overlap="skip", catch_up="none")
