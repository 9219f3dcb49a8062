"""maintenance and health-check."""

from __future__ import annotations

import datetime as dt
import socket
from pathlib import Path
from typing import Any

import pytest

import jobs
from jobs.models import IdempotencyKey, Job
from jobsite import broker
from tests.handlers.attempts import attempt
from tests.support import sandbox
from tests.support import world as worlds

pytestmark = pytest.mark.django_db(transaction=True)

LONG_AGO = dt.datetime.now(dt.UTC) - dt.timedelta(days=40)


def test_maintenance_prunes_and_repairs() -> None:
    old = attempt(jobs.submit("echo", {"value": 1}, key="old").id)
    Job.objects.filter(pk=old.pk).update(finished_at=LONG_AGO)
    job = attempt(jobs.submit("maintenance").id)
    assert job.status == "succeeded"
    assert job.result["pruned"] == {"jobs": 1, "keys": 0, "stats": 0, "leases": 0, "drops": 0}
    assert set(job.result["reconciled"]) == {"promoted", "expired", "repushed", "mirrored", "epoch"}
    assert not Job.objects.filter(pk=old.pk).exists()
    assert IdempotencyKey.objects.get().tombstone["id"] == str(old.pk)


def test_a_healthy_system_is_said_to_be_healthy() -> None:
    job = attempt(jobs.submit("health-check").id)
    assert job.status == "succeeded"
    assert all(job.result[part]["ok"] for part in ("database", "broker", "disk"))


def test_a_data_dir_that_nothing_was_written_to_yet_is_no_fault(settings: Any, tmp_path: Path) -> None:
    settings.JOBS_DATA_DIR = str(tmp_path / "not" / "yet")
    assert attempt(jobs.submit("health-check").id).result["disk"]["ok"]


def test_a_broker_that_is_away_is_named() -> None:
    broker.stop(sandbox.folder())
    try:
        job = attempt(jobs.submit("health-check").id)
    finally:
        worlds.start_broker()
    assert job.error_code == "Unhealthy"
    assert (job.error_message or "").startswith("broker: ")


def test_a_url_in_our_own_network_is_not_probed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        job = attempt(jobs.submit("health-check", {"url": f"http://127.0.0.1:{server.getsockname()[1]}/"}).id)
    assert "must not be reached" in (job.error_message or "")
