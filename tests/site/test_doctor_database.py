"""`doctor` does with the database what workers do, and asks it what is in force."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.db.utils import ConnectionHandler

from jobs.doctor import Finding, database, postgresql, sqlite
from jobs.models import QueueState
from tests.support import sandbox
from tests.support.eventually import eventually

is_postgres = sandbox.chosen_database() == "postgres"
on_postgres = pytest.mark.skipif(not is_postgres, reason="about PostgreSQL")
on_sqlite = pytest.mark.skipif(is_postgres, reason="about SQLite")
pytestmark = pytest.mark.django_db(transaction=True)


def found() -> dict[str, Finding]:
    return {finding.name: finding for finding in database.probe()}


def test_a_database_that_does_all_of_it_is_well_and_nothing_is_left_in_it() -> None:
    assert list(found()) == ["ok"]
    assert not QueueState.objects.exists()


def test_migrations_that_are_missing_and_those_of_newer_code_are_told_apart() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO django_migrations (app, name, applied) VALUES ('jobs', '9999_of_tomorrow', '2026-01-01')"
        )
        newer = found()
        cursor.execute("DELETE FROM django_migrations WHERE name = '9999_of_tomorrow'")
        assert "9999_of_tomorrow" in newer["migrations-newer"].sentence
        assert newer["migrations-newer"].level == "warning"
        cursor.execute("SELECT name, applied FROM django_migrations WHERE app = 'jobs' ORDER BY id DESC LIMIT 1")
        name, applied = cursor.fetchone()
        cursor.execute("DELETE FROM django_migrations WHERE app = 'jobs' AND name = %s", [name])
        missing = found()
        cursor.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('jobs', %s, %s)", [name, applied])
    assert list(missing) == ["migrations-missing"]
    assert missing["migrations-missing"].fix == "python manage.py migrate --database default"


# --- PostgreSQL -------------------------------------------------------------------------------------------------


@contextmanager
def stranger() -> Iterator[psycopg.Connection[Any]]:
    """Somebody else's session on the same database."""
    with psycopg.connect(sandbox.children_environment()["DATABASE_URL"]) as other:
        yield other


@contextmanager
def in_force(*statements: str) -> Iterator[None]:
    """Settings of this session, as a pooler or a role might leave them; a new one follows."""
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    try:
        yield
    finally:
        connection.close()


@on_postgres
@pytest.mark.parametrize(
    "limit", ["idle_in_transaction_session_timeout", "lock_timeout", "client_connection_check_interval"]
)
def test_a_limit_that_a_pooler_dropped_is_named_with_the_statement_that_sets_it(limit: str) -> None:
    with in_force(f"SET {limit} = 0"):
        finding = found()["database-session-limits"]
    assert limit in finding.sentence
    statement = finding.fix.removeprefix("run: ")
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
        with stranger() as other:
            (value,) = other.execute(f"SHOW {limit}").fetchone() or ("",)
            assert value != "0"
    finally:
        with connection.cursor() as cursor:
            cursor.execute(
                f"ALTER DATABASE {connection.ops.quote_name(connection.settings_dict['NAME'])} RESET {limit}"
            )


@on_postgres
def test_a_database_that_is_read_only_is_named() -> None:
    with in_force("SET default_transaction_read_only = on"):
        finding = found()["database-read-only"]
    assert finding.level == "failure"


@on_postgres
def test_another_isolation_and_commits_that_do_not_wait_for_the_disk_are_named() -> None:
    with in_force("SET default_transaction_isolation = 'repeatable read'", "SET synchronous_commit = off"):
        names = found()
    assert names["database-isolation"].level == "warning"
    assert "synchronous_commit" in names["database-not-durable"].sentence


@on_postgres
def test_a_table_that_somebody_locks_is_named_with_the_one_who_does_and_how_to_end_it() -> None:
    with stranger() as other:
        other.execute("LOCK TABLE jobs_queuestate IN ACCESS EXCLUSIVE MODE")
        (pid,) = other.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        time.sleep(postgresql.HELD_S + 0.5)
        names = found()
        assert f"pg_terminate_backend({pid})" in names["database-locked"].fix
        assert f"process {pid} " in names["database-lock"].sentence
        with connection.cursor() as cursor:
            cursor.execute(names["database-lock"].fix.removeprefix("end it: "))
        eventually(lambda: list(found()) == ["ok"])
        with pytest.raises(psycopg.OperationalError):
            other.execute("SELECT 1")
        other.close()


@on_postgres
def test_a_transaction_that_stays_open_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "OPEN_S", 0)
    with stranger() as other:
        other.execute("SELECT 1")
        (pid,) = other.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        assert f"pg_terminate_backend({pid})" in found()["database-long-transaction"].fix


@on_postgres
def test_connections_that_run_out_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "FEW", 1.0)
    assert "connections of the server are taken" in found()["database-connections"].sentence


@on_postgres
def test_a_user_who_may_not_write_is_named() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP ROLE IF EXISTS doctor_reader")
        cursor.execute("CREATE ROLE doctor_reader")
        cursor.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO doctor_reader")
    try:
        with in_force("SET ROLE doctor_reader"):
            assert found()["database-rights"].level == "failure"
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP OWNED BY doctor_reader")
            cursor.execute("DROP ROLE doctor_reader")


# --- SQLite -----------------------------------------------------------------------------------------------------


@on_sqlite
def test_a_database_that_is_locked_is_named() -> None:
    holds, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        other = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        holds.set()
        let_go.wait(60)
        other.close()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert holds.wait(20)
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout = 200")
        finding = found()["database-locked"]
    finally:
        let_go.set()
        thread.join()
        connection.close()
    assert "fuser" in finding.fix


@on_sqlite
def test_a_file_that_may_only_be_read_is_named() -> None:
    with in_force("PRAGMA query_only = 1"):
        assert found()["database-read-only"].level == "failure"


@on_sqlite
def test_commits_that_do_not_wait_for_the_disk_are_named() -> None:
    with in_force("PRAGMA synchronous = NORMAL"):
        assert found()["sqlite-synchronous"].level == "warning"


@on_sqlite
def test_another_journal_is_named(tmp_path: Path) -> None:
    stated = {"ENGINE": "jobs.sqlite3", "NAME": tmp_path / "other.sqlite3"}
    other = ConnectionHandler({"default": {**stated, "OPTIONS": {"init_command": "PRAGMA journal_mode=DELETE"}}})
    try:
        (finding,) = [one for one in sqlite.look(other["default"]) if one.name == "sqlite-journal"]
    finally:
        other.close_all()
    assert finding.level == "failure"
    assert "'delete'" in finding.sentence


@on_sqlite
def test_a_log_that_grows_and_a_disk_that_is_full_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    QueueState.objects.create(name="something-in-the-log")
    monkeypatch.setattr(sqlite, "WAL_MOST_BYTES", 0)
    monkeypatch.setattr(sqlite, "FREE_MIN_BYTES", 2**60)
    names = found()
    assert names["sqlite-wal"].level == "warning"
    assert names["database-disk"].level == "failure"


@on_sqlite
def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "damaged.sqlite3"
    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE filler (text)")
        made.executemany("INSERT INTO filler VALUES (?)", [("x" * 500,)] * 200)
    made.close()
    data = bytearray(path.read_bytes())
    data[4096 * 3 : 4096 * 3 + 2000] = b"\xff" * 2000
    path.write_bytes(data)

    class Damaged:
        connection = sqlite3.connect(path)
        settings_dict = {"NAME": str(path)}
        cursor = staticmethod(lambda: _closing(Damaged.connection))

    (finding,) = sqlite._is_whole(Damaged, path)  # type: ignore[arg-type]
    assert finding.name == "sqlite-damaged"
    Damaged.connection.close()


@contextmanager
def _closing(raw: sqlite3.Connection) -> Iterator[sqlite3.Cursor]:
    yield raw.cursor()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/jobs/var/jobs.sqlite3", "nfs4"),
        ("/srv/local/jobs.sqlite3", "ext4"),
        ("/mnt/a share/x", "cifs"),
        ("/etc/x", "overlay"),
    ],
)
def test_the_file_system_of_the_file_is_that_of_its_nearest_mount(tmp_path: Path, path: str, kind: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 0:21 / / rw,relatime shared:1 - overlay overlay rw\n"
        "23 22 0:22 / /srv rw - nfs4 server:/export rw\n"
        "24 23 8:1 / /srv/local rw,noatime shared:3 master:1 - ext4 /dev/sda1 rw\n"
        "25 22 0:30 / /mnt/a\\040share rw - cifs //server/share rw\n"
    )
    assert sqlite.file_system(Path(path), mounts) == kind
    assert kind.startswith(sqlite.NETWORK) == (kind in ("nfs4", "cifs"))
