"""What a worker does with the database, tried: a write that is committed, one that is rolled back; then what is in force."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

from jobs.conf import Conf, stated
from jobs.doctor import postgresql, sqlite
from jobs.doctor.findings import Finding, database_setting, failure, first_line, ok, warning

LABEL = "jobs"

READ_ONLY = ("read-only", "readonly", "25006")
LOCKED = ("database is locked", "lock timeout", "55P03")


def probe() -> Iterator[Finding]:
    # As far as it is stated: other settings may be wrong.
    connection = connections[str(stated().get("database", Conf.model_fields["database"].default))]
    try:
        connection.ensure_connection()
    except (DatabaseError, InterfaceError, ImproperlyConfigured) as error:
        yield failure("database-unreachable", f"the database does not answer: {first_line(error)}", _look())
        return
    migrations = list(_migrations(connection))
    yield from migrations
    if any(finding.level == "failure" for finding in migrations):
        return
    backend = sqlite if connection.vendor == "sqlite" else postgresql
    found = [*_writes(connection, backend.holders), *backend.look(connection)]
    yield from found
    if not found:
        yield ok(f"{connection.vendor} takes what workers write and is up to date; {backend.facts(connection)}")


def _look() -> str:
    return f"look at {database_setting()} and at the database server"


def _migrations(connection: BaseDatabaseWrapper) -> Iterator[Finding]:
    executor = MigrationExecutor(connection)
    leaves = executor.loader.graph.leaf_nodes(None if connection.alias == "default" else LABEL)
    if pending := executor.migration_plan(leaves):
        yield failure(
            "migrations-missing",
            f"{len(pending)} migrations are not applied",
            f"python manage.py migrate --database {connection.alias}",
        )
    known = {name for label, name in executor.loader.disk_migrations if label == LABEL}
    replaced = {name for migration in executor.loader.replacements.values() for _, name in migration.replaces}
    applied = {name for label, name in executor.recorder.applied_migrations() if label == LABEL}
    if newer := sorted(applied - known - replaced):
        yield warning(
            "migrations-newer",
            f"the database has migrations that this code does not know: {', '.join(newer)}",
            "deploy the code that brought them; older code works only as long as both versions are made for each other",
        )


def _writes(connection: BaseDatabaseWrapper, holders: postgresql.Holders) -> Iterator[Finding]:
    """The same update as `/health/ready`, committed, which changes nothing; then a row that is rolled back."""
    try:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            cursor.execute("UPDATE jobs_housekeeping SET epoch = epoch WHERE id = 1")
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO jobs_queuestate (name, paused_by) VALUES (%s, '')", [f"doctor-{uuid.uuid4().hex}"]
            )
            transaction.set_rollback(True, using=connection.alias)
    except (DatabaseError, InterfaceError) as error:
        said = f"{error} {getattr(error.__cause__, 'sqlstate', '')}"
        if any(word in said for word in READ_ONLY):
            yield failure(
                "database-read-only",
                f"the database takes no writes: {first_line(error)}",
                f"let {database_setting()} name the primary, or a user and a file that may write",
            )
        elif any(word in said for word in LOCKED):
            by = "; ".join(holders(connection))
            yield failure(
                "database-locked",
                f"a write waited for a lock until it was given up: {first_line(error)}",
                by or "find the program that holds the database, and end its transaction",
            )
        elif "permission denied" in said:
            yield failure(
                "database-rights",
                f"the user may not write: {first_line(error)}",
                "let the user of the jobs tables own them, or GRANT it SELECT, INSERT, UPDATE and DELETE on them",
            )
        else:
            yield failure("database-write", f"the database refuses a write: {first_line(error)}", _look())
