"""A system that stands while processes beside it are made to fail, one after the other.

An API, and a worker that serves `default` and does the housekeeping. What is to fail is started beside them, with
its fail-point: a worker for `high` alone, another API, schedulers. Nothing is wiped in between, so each case meets a
database with a history.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command

import jobs
from jobs import failpoints, process
from jobs.models import Effect, Job
from tests.real.watching import assert_lawful
from tests.support import sandbox, world
from tests.support.callers import Caller, make_key
from tests.support.eventually import eventually
from tests.support.processes import Process
from tests.support.world import World

SHORT = {"JOBS_LEASE_S": "4", "JOBS_RENEW_S": "1"}
STOPPED_S = 1.5
QUEUE = "high"


class System:
    def __init__(self, found: World) -> None:
        self.world = found
        self.world.serve()
        self.url = found.url
        self.world.worker("default", **SHORT)

    # --- what is to fail --------------------------------------------------------------------------------

    def forget(self) -> None:
        """No point has acted yet."""
        for path in (self.world.data_dir / failpoints.FOLDER).glob("*"):
            path.unlink()

    @contextlib.contextmanager
    def armed_worker(self, *points: str) -> Iterator[Process]:
        with self._ended():
            yield self.world.worker(QUEUE, "--name", f"armed-{uuid.uuid4()}", JOBS_FAIL=",".join(points), **SHORT)

    @contextlib.contextmanager
    def armed_api(self, *points: str) -> Iterator[Process]:
        with self._ended():
            yield self.world.serve(JOBS_FAIL=",".join(points))
        self.world.url = self.url

    @contextlib.contextmanager
    def armed_scheduler(self, *points: str) -> Iterator[Process]:
        with self._ended():
            yield self.world.scheduler(JOBS_FAIL=",".join(points))

    @contextlib.contextmanager
    def _ended(self) -> Iterator[None]:
        """What is started within is ended after, by force, so that nothing of it meets the next case."""
        before = len(self.world.processes)
        try:
            yield
        finally:
            for one in self.world.processes[before:]:
                one.destroy()

    def has_acted(self, name: str) -> bool:
        return (self.world.data_dir / failpoints.FOLDER / name).exists()

    def has_any_acted(self) -> bool:
        return any((self.world.data_dir / failpoints.FOLDER).glob("*"))

    def acted(self, name: str) -> int:
        """The process in which the point acted, as soon as it did; what was stopped goes on after a while."""
        path = self.world.data_dir / failpoints.FOLDER / name
        pid = int(eventually(lambda: path.exists() and path.read_text(), timeout_s=30))
        if process.state(pid) == "T":
            time.sleep(STOPPED_S)
            os.kill(pid, signal.SIGCONT)
        return pid

    def go_on(self) -> None:
        """Let what was stopped go on, whichever process it is."""
        for path in (self.world.data_dir / failpoints.FOLDER).glob("*"):
            pid = int(path.read_text() or 0)
            if pid and process.state(pid) == "T":
                os.kill(pid, signal.SIGCONT)

    # --- jobs ---------------------------------------------------------------------------------------------

    def submit(self, **payload: Any) -> uuid.UUID:
        return jobs.submit("echo", payload, queue=QUEUE).id

    def some_jobs(self) -> list[uuid.UUID]:
        """Short and longer ones, and an effect of each policy, in more turns than one."""
        ids = [self.submit(sleepSeconds=0.2) for _ in range(4)]
        ids += [self.submit(effect="charge", onDoubt=policy) for policy in ("hold", "skip", "repeat")]
        ids.append(self.submit(sleepSeconds=1.5))

        def are_under_way() -> bool:
            return Job.objects.filter(pk__in=ids, attempt__gte=1).exists() or self.has_any_acted()

        eventually(are_under_way, timeout_s=30)
        return ids + [self.submit(value=number) for number in range(3)]

    def assert_all_ended(self, ids: list[uuid.UUID]) -> None:
        """Nothing was lost, all of it is lawful, and no effect is done that is not in the ledger."""
        found = Job.objects.filter(pk__in=ids)

        def is_quiet() -> bool:
            self.go_on()
            left = list(found.filter(status__in=("scheduled", "queued", "running")).values_list("id", "status"))
            assert not left
            return True

        eventually(is_quiet, timeout_s=45, every_s=0.1)
        assert found.count() == len(ids)
        assert_lawful(self.world, ids)
        assert set(found.values_list("status", flat=True)) <= {"succeeded", "in_doubt"}
        for job in found.filter(status="in_doubt"):
            assert job.payload["onDoubt"] == "hold"
        lines = Counter(line[0] for line in self.world.ledger())
        for effect in Effect.objects.filter(job_id__in=ids):
            assert effect.status in ("done", "in_doubt", "not_done")
            if effect.status == "done" and effect.settled_by != "policy":
                assert lines[str(effect.job_id)] >= 1


@pytest.fixture(scope="module", name="system")
def _system(django_db_setup: None, django_db_blocker: Any, broker_server: None) -> Iterator[System]:
    """One for all the tests of a module: none of them may use a database fixture of pytest-django."""
    with django_db_blocker.unblock():
        call_command("migrate", verbosity=0)  # pytest-django makes no database where no test asks for one
        world.wipe()
        found = World(make_key("world", ["jobs:all", *Caller.SCOPES], is_unlimited=True), sandbox.folder())
        try:
            yield System(found)
        finally:
            found.stop()
            call_command("flush", verbosity=0, interactive=False)
