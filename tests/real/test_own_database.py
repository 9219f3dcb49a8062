"""A project that gives the job system a database of its own: all of it works, and what cannot be one commit is refused."""

from __future__ import annotations

import uuid
from pathlib import Path

from jobs import queue
from jobs.models import Effect, Job
from tests.real.watching import reached
from tests.support.foreign_project import Theirs
from tests.support.world import World

SETTINGS = """
DATABASES = {
    "jobs": DATABASES["default"],
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "%s/theirs.sqlite3", "OPTIONS": {"transaction_mode": "IMMEDIATE"}},
}
JOBS_DATABASE = "jobs"
"""

HANDLERS = """
from django.db import connections
from jobs import handler

def count(job):
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM theirs")
        return cursor.fetchone()[0]

def write(job):
    with connections["default"].cursor() as cursor:
        cursor.execute(" /* theirs */ INSERT INTO theirs VALUES (1)")

def insert_as_a_query(job):
    with connections["default"].cursor() as cursor:
        cursor.execute("WITH new(id) AS (SELECT 1) INSERT INTO theirs SELECT id FROM new")

def write_here(job):
    with connections["jobs"].cursor() as cursor:
        cursor.execute("UPDATE jobs_queuestate SET name = name")

def effect(work, **options):
    def perform(job, payload):
        with job.effect("rows", transactional=True) as effect:
            if effect.pending:
                effect.result = work(job)
        write(job)  # outside of the effect it is the project's own affair
        return effect.result
    return perform

for work in (count, write, insert_as_a_query, write_here):
    handler(work.__name__.replace("_", "-"), max_attempts=1)(effect(work))
"""


def test_jobs_run_and_a_transactional_effect_writes_only_what_is_committed_with_it(
    world: World, tmp_path: Path
) -> None:
    theirs = Theirs(tmp_path, world, SETTINGS % tmp_path)
    (tmp_path / "theirs" / "handlers.py").write_text(HANDLERS)
    assert theirs.run("migrate") == (0, theirs.world.processes[-1].log)
    ids = theirs.python("""
import jobs
from django.db import connection, transaction
with connection.cursor() as cursor:
    cursor.execute("CREATE TABLE theirs (id int)")
    cursor.execute("SELECT name FROM sqlite_master")
    assert not [name for (name,) in cursor.fetchall() if name.startswith("jobs_")]
types = "count", "write", "insert-as-a-query", "write-here"
with transaction.atomic(using="jobs"):
    found = {type: jobs.submit(type, {}).id for type in types}
answer(found)""")
    assert queue.broker().llen("rq:queue:default") == 4
    code, log = theirs.run("rqworker", "--burst")
    assert code == 0, log
    for type in ("count", "write-here"):
        reached(uuid.UUID(ids[type]), "succeeded")
    for type in ("write", "insert-as-a-query"):
        job = Job.objects.get(pk=ids[type])
        assert (job.status, job.error_code) == ("failed", "RuntimeError")
        assert "was to write into the database 'default'" in (job.error_message or "")
        assert not Effect.objects.filter(job_id=job.pk).exists()
    rows = theirs.python("""
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("SELECT count(*) FROM theirs")
    answer(cursor.fetchone()[0])""")
    assert rows == 2
