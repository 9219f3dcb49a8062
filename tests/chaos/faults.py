"""Kinds of faults: each breaks one thing for a while. What is left broken is mended by `Site.heal`."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from jobs import failpoints, process
from jobsite import broker
from tests.chaos.history import History
from tests.chaos.proxy import Mode, Proxy
from tests.chaos.site import Site
from tests.support.eventually import eventually

WORKERS = ("first", "second")


@dataclass
class Stage:
    site: Site
    history: History
    dice: random.Random
    number: int = 0

    def worker(self) -> str:
        return self.dice.choice(WORKERS)

    def kill(self, *pids: int | None) -> None:
        """In one moment, as far as a moment goes."""
        for pid in pids:
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def lease_of(self, role: str) -> str | None:
        """The live lease of a worker's horse: of the one that `site.horse` names, where there are several."""
        from jobs.models import Lease

        pid, horse_pid = self.site.processes[role].pid, self.site.horse(role)
        leases = Lease.objects.filter(parent_pid=pid, horse_pid=horse_pid, revoked_at=None)
        found = leases.values_list("id", flat=True).first()
        return None if found is None else str(found)

    def await_repair(self, lease_id: str | None, what: str) -> None:
        """Note how long the jobs of a dead horse stay `running`."""
        from jobs.models import Job

        began = time.monotonic()
        if lease_id is None or not Job.objects.filter(lease_id=lease_id, status="running").exists():
            return
        while time.monotonic() < began + 30:
            if not Job.objects.filter(lease_id=lease_id, status="running").exists():
                self.history.note("nemesis", "repaired", fault=what, took=round(time.monotonic() - began, 3))
                return
            time.sleep(0.02)
        self.history.note("nemesis", "not repaired", fault=what, lease=lease_id)


# --- processes ----------------------------------------------------------------------------------------


def kill_horse(stage: Stage) -> None:
    role = stage.worker()
    lease_id = stage.lease_of(role)
    stage.kill(stage.site.horse(role))
    stage.await_repair(lease_id, "kill horse")


def kill_parent(stage: Stage) -> None:
    role = stage.worker()
    lease_id = stage.lease_of(role)
    stage.site.processes[role].kill()
    stage.await_repair(lease_id, "kill parent")


def kill_worker(stage: Stage) -> None:
    role = stage.worker()
    lease_id, worker = stage.lease_of(role), stage.site.processes[role]
    stage.kill(stage.site.horse(role), worker.pid)
    worker.wait()
    stage.await_repair(lease_id, "kill worker")


def kill_api(stage: Stage) -> None:
    for _ in range(3):
        stage.site.processes["api"].destroy()
        stage.site.ensure()
        eventually(stage.site.is_live, timeout_s=20)
        time.sleep(stage.dice.random())


def kill_scheduler(stage: Stage) -> None:
    for role in stage.dice.choice([("ticker-1",), ("ticker-2",), ("ticker-1", "ticker-2")]):
        stage.site.processes[role].kill()
    time.sleep(stage.dice.choice([0, 3]))


def rolling_restart(stage: Stage) -> None:
    for role in WORKERS:
        stage.site.processes[role].send(signal.SIGTERM)
        stage.site.processes[role].wait(30)
        stage.site.ensure()
        time.sleep(1)


def fail_somewhere(stage: Stage) -> None:
    """Two fail-points at once, in all processes of one role that is started anew."""
    shutil.rmtree(stage.site.folder / failpoints.FOLDER, ignore_errors=True)
    points = stage.dice.sample(failpoints.NAMES, 2)
    actions = [stage.dice.choice(["kill", "drop", "sleep"]) for _ in points]
    text = ",".join(f"{n}:{stage.dice.randint(1, 5)}:{a}" for n, a in zip(points, actions, strict=True))
    area = points[0].partition(".")[0]
    role = {"submit": "api", "push": "api", "tick": "ticker-1"}.get(area) or stage.worker()
    stage.history.note("nemesis", "armed", role=role, points=text)
    stage.site.processes[role].destroy()
    stage.site.start(role, JOBS_FAIL=text)
    time.sleep(4)
    stage.site.ensure()


def _stop(stage: Stage, what: str) -> None:
    """SIGSTOP for a while. Whoever is stopped past its lease must be dead by then, whatever holds it. A parent whose
    horse is gone holds none: all that it may still do with the last one is to give it back."""
    role = stage.worker()
    parent, horse = stage.site.processes[role].pid, stage.site.horse(role)
    pids = {"horse": [horse], "parent": [parent], "both": [parent, horse]}[what]
    lease_s = stage.site.lease_s
    seconds = stage.dice.choice([1.0, lease_s + 1.5])
    started = {pid: process.started(pid) for pid in pids if pid is not None}
    for pid in started:
        os.kill(pid, signal.SIGSTOP)
    has_horse = horse is not None and process.state(horse) not in ("", "Z", "X")
    time.sleep(seconds)
    for pid, since in started.items():
        if process.is_alive(pid, since):
            if has_horse and seconds > lease_s:
                stage.history.note("nemesis", "outlived", what=what, pid=pid, seconds=seconds)
            os.kill(pid, signal.SIGCONT)


def stop_horse(stage: Stage) -> None:
    _stop(stage, "horse")


def stop_parent(stage: Stage) -> None:
    _stop(stage, "parent")


def stop_both(stage: Stage) -> None:
    _stop(stage, "both")


def suspect_wrongly(stage: Stage) -> None:
    """A housekeeper takes a worker for dead that lives, and moves its jobs; its parent does not notice at once."""
    from jobs import leases
    from jobs.lifecycle import Actor

    role = stage.worker()
    lease_id, parent = stage.lease_of(role), stage.site.processes[role].pid
    if lease_id is None:
        return
    os.kill(parent, signal.SIGSTOP)
    try:
        verdict = leases.crashed("suspected, wrongly")
        leases.end_lease(uuid.UUID(lease_id), verdict, actor=Actor.HOUSEKEEPING, who="nemesis")
        time.sleep(2.5)
    finally:
        os.kill(parent, signal.SIGCONT)


# --- the broker ---------------------------------------------------------------------------------------


def _kill_broker(stage: Stage) -> None:
    pid = broker.pid(stage.site.folder)
    stage.kill(pid)
    eventually(lambda: not broker.is_running(stage.site.folder))


def restart_broker(stage: Stage) -> None:
    _kill_broker(stage)
    time.sleep(stage.dice.choice([0.1, 1, 5]))
    broker.start(stage.site.folder)


def lose_broker_files(stage: Stage) -> None:
    _kill_broker(stage)
    shutil.rmtree(broker.folder(stage.site.folder) / "appendonlydir", ignore_errors=True)
    broker.start(stage.site.folder)


def take_snapshot(site: Site) -> None:
    source, target = broker.folder(site.folder) / "appendonlydir", site.folder / "snapshot"
    with contextlib.suppress(OSError, shutil.Error):  # the broker may rewrite its files meanwhile
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)


def restore_snapshot(stage: Stage) -> None:
    """The broker comes back as it was at the last strike of this kind."""
    _kill_broker(stage)
    files, old = broker.folder(stage.site.folder) / "appendonlydir", stage.site.folder / "snapshot"
    now = stage.site.folder / "snapshot-now"
    shutil.move(files, now)
    if old.exists():
        shutil.copytree(old, files)
    try:
        broker.start(stage.site.folder)
    except broker.BrokerError:  # a copy that was torn
        shutil.rmtree(files, ignore_errors=True)
        broker.start(stage.site.folder)
    shutil.rmtree(old, ignore_errors=True)
    shutil.move(now, old)


def flush(stage: Stage) -> None:
    stage.site.redis().flushall()


def delete_keys(stage: Stage) -> None:
    with stage.site.redis() as connection:
        for key in connection.scan_iter(count=1000):
            if stage.dice.random() < 0.5:
                connection.delete(key)


def pause_broker(stage: Stage) -> None:
    with stage.site.redis() as connection:
        connection.execute_command("CLIENT", "PAUSE", "2000", "ALL")
    time.sleep(2)


def freeze_broker(stage: Stage) -> None:
    pid = broker.pid(stage.site.folder)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    time.sleep(stage.dice.choice([0.5, 3]))
    os.kill(pid, signal.SIGCONT)


def fill_broker(stage: Stage) -> None:
    with stage.site.redis() as connection:
        connection.config_set("maxmemory", 1)
        time.sleep(3)
        connection.config_set("maxmemory", 0)


def make_broker_read_only(stage: Stage) -> None:
    with stage.site.redis() as connection:
        connection.config_set("replica-read-only", "yes")
        connection.replicaof("127.0.0.1", "1")
        time.sleep(3)
        connection.replicaof("NO", "ONE")


def push_fifty_times(stage: Stage) -> None:
    from jobs.models import Job

    with stage.site.redis() as connection:
        for job_id, queue in Job.objects.order_by("-id").values_list("id", "queue")[:4]:
            connection.rpush(f"rq:queue:{queue}", *[str(job_id)] * 50)


# --- network ------------------------------------------------------------------------------------------


def _impair(proxy: Proxy | None, mode: Mode, seconds: float) -> None:
    assert proxy is not None
    proxy.mode = mode
    time.sleep(seconds)
    proxy.mode = Mode.PASS


def lose_api_replies(stage: Stage) -> None:
    _impair(stage.site.api_proxy, Mode.DROP_REPLIES, 2)


def lose_broker_replies(stage: Stage) -> None:
    _impair(stage.site.broker_proxy, Mode.DROP_REPLIES, 2)


def cut_off_from_broker(stage: Stage) -> None:
    _impair(stage.site.broker_proxy, Mode.PARTITION, stage.dice.choice([2, stage.site.lease_s + 2]))


def lose_database_replies(stage: Stage) -> None:
    _impair(stage.site.database_proxy, Mode.DROP_REPLIES, 2)


def cut_off_from_database(stage: Stage) -> None:
    _impair(stage.site.database_proxy, Mode.PARTITION, stage.dice.choice([2, stage.site.lease_s + 2]))


# --- the database -------------------------------------------------------------------------------------


def lock_database(stage: Stage) -> None:
    with _sqlite(stage) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        time.sleep(stage.dice.choice([1, 4, 10]))
        connection.execute("ROLLBACK")


@contextlib.contextmanager
def _sqlite(stage: Stage) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(stage.site.folder / "jobs.sqlite3", isolation_level=None, timeout=20)
    try:
        yield connection
    finally:
        connection.close()


def cut_connections(stage: Stage) -> None:
    import psycopg

    assert stage.site.server is not None
    with psycopg.connect(stage.site.server.url("postgres"), autocommit=True) as connection:
        for _ in range(4):
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
            time.sleep(0.3)


def restart_database(stage: Stage) -> None:
    assert stage.site.server is not None
    stage.site.server.stop()
    stage.site.server.start()


def crash_database(stage: Stage) -> None:
    assert stage.site.server is not None
    stage.site.server.crash()
    time.sleep(stage.dice.choice([0, 5]))
    stage.site.server.start()


ANYWHERE: tuple[Callable[[Stage], None], ...] = (
    kill_horse, kill_parent, kill_worker, kill_api, kill_scheduler, rolling_restart, fail_somewhere, stop_horse,
    stop_parent, stop_both, suspect_wrongly, restart_broker, lose_broker_files, restore_snapshot, flush, delete_keys,
    pause_broker, freeze_broker, fill_broker, make_broker_read_only, push_fifty_times, lose_api_replies,
    lose_broker_replies, cut_off_from_broker,
)  # fmt: skip
ON_SQLITE = (lock_database,)
ON_POSTGRES = (lose_database_replies, cut_off_from_database, cut_connections, restart_database, crash_database)

DATABASE_AWAY = frozenset(fault.__name__.replace("_", " ") for fault in (*ON_SQLITE, *ON_POSTGRES, fail_somewhere))
"""Faults in which the database may not be able to commit, so that 503 is the right answer."""

STOPS = frozenset({"stop horse", "stop parent", "stop both"})
"""On SQLite a process that is stopped inside its transaction holds the only write lock."""


Kinds = dict[str, Callable[[Stage], None]]


def named(*chosen: Callable[[Stage], None]) -> Kinds:
    return {fault.__name__.replace("_", " "): fault for fault in chosen}


def kinds(database: str) -> Kinds:
    chosen = ANYWHERE + (ON_SQLITE if database == "sqlite" else ON_POSTGRES)
    return named(*chosen)
