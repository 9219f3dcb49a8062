"""`doctor` looks whether the work gets done: queues, schedules, housekeeping, effects, types, mail, static files."""

from __future__ import annotations

import datetime as dt
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from jobs import queue, reconcile, schedules
from jobs.conf import conf
from jobs.doctor import Finding, surroundings, timetable, work
from jobs.lifecycle import Status
from jobs.models import Effect, Housekeeping, Lease, Schedule
from jobs.owner import FIELD, MARK
from tests.support.factory import make_effect, make_job, make_lease
from tests.support.processes import free_port

pytestmark = pytest.mark.django_db


def by_name(found: Iterator[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in found}


# --- queues -----------------------------------------------------------------------------------------------------


def test_a_queue_that_left_the_settings_is_a_failure_until_somebody_serves_it() -> None:
    make_lease()
    make_job(Status.SCHEDULED, queue="old")
    found = by_name(work.workers())["queue-unlisted"]
    assert found.level == "failure"
    assert (
        "python manage.py rqworker old; or give them another queue: python manage.py queues move old high" in found.fix
    )
    make_lease(queues=["old"])
    assert by_name(work.workers())["queue-unlisted"].level == "warning"


def test_jobs_that_wait_for_too_long_are_named_unless_their_queue_is_paused() -> None:
    make_lease()
    make_job(Status.QUEUED, queue="low", queued_at=timezone.now() - dt.timedelta(seconds=work.LATE_S + 60))
    assert "low" in by_name(work.workers())["queue-late"].sentence
    from jobs import operate

    operate.pause_queue("low", "alice")
    found = by_name(work.workers())
    assert "queue-late" not in found
    assert found["queue-paused"].fix == "python manage.py queues resume low"


def test_waiting_jobs_of_a_type_that_nobody_knows_are_named() -> None:
    make_lease()
    make_job(Status.QUEUED, type="gone-one")
    make_job(Status.SCHEDULED, type="gone-two")
    make_job(Status.SUCCEEDED, type="gone-three")
    assert "gone-one, gone-two" in by_name(work.workers())["type-unknown"].sentence


def test_housekeeping_that_nobody_does_is_a_failure_where_there_are_workers_to_do_it() -> None:
    Housekeeping.objects.update_or_create(pk=1, defaults={"expires_at": timezone.now() - dt.timedelta(minutes=2)})
    assert list(by_name(work.housekeeping())) == ["housekeeping-idle"]
    make_lease()
    Lease.objects.update(created_at=timezone.now() - dt.timedelta(minutes=2))
    assert by_name(work.housekeeping())["housekeeping-stale"].level == "failure"
    reconcile.reconcile()
    assert list(by_name(work.housekeeping())) == ["ok"]


def test_another_database_on_the_same_redis_is_named() -> None:
    assert list(by_name(work.owner())) == ["ok"]
    reconcile.reconcile()
    queue.broker().set(MARK, "somebody-elses")
    found = by_name(work.owner())["redis-rival"]
    assert found.level == "failure"
    assert "somebody-elses" in found.sentence


def test_workers_and_schedulers_of_another_database_are_named_and_are_not_ours() -> None:
    stored("waiting")
    reconcile.reconcile()
    queue.broker().hset("rq:scheduler_instance:plain", mapping={"birth": "now", "hostname": "rqs-own"})
    assert by_name(timetable.scheduler())["no-scheduler"].level == "failure"
    assert list(by_name(work.owner())) == ["ok"]
    for key in ("rq:scheduler_instance:theirs", "rq:worker:theirs"):
        queue.broker().hset(key, mapping={"birth": "now", "hostname": key[3:9], FIELD: "another"})
    queue.broker().sadd("rq:workers", "rq:worker:theirs")
    assert by_name(timetable.scheduler())["no-scheduler"].level == "failure"
    found = by_name(work.owner())["redis-rival"]
    assert found.level == "warning"
    assert "on schedu, worker;" in found.sentence
    mark = Housekeeping.objects.get().mark
    queue.broker().hset("rq:scheduler_instance:ours", mapping={"birth": "now", FIELD: mark})
    assert list(by_name(timetable.scheduler())) == ["ok"]


def test_effects_that_were_forgotten_are_told_from_those_of_today() -> None:
    assert list(by_name(work.effects())) == ["ok"]
    make_effect(make_job(Status.IN_DOUBT), name="second")
    Effect.objects.filter(name="send").update(ended_at=timezone.now() - dt.timedelta(days=2))
    found = by_name(work.effects())
    assert "more than a day: 1;" in found["effects-forgotten"].sentence
    assert found["effects-in-doubt"].sentence.startswith("effects in doubt: 1;")


# --- schedules --------------------------------------------------------------------------------------------------


def stored(name: str, **columns: Any) -> Schedule:
    schedules.store(Schedule(name=name, type="echo", **{"cron": "@hourly", **columns}), who="code")
    return Schedule.objects.get(name=name)


FAR = f"0 0 1 {(timezone.now().month + 5) % 12 + 1} *"
"""A day half a year from now."""


@pytest.mark.parametrize(
    ("changes", "finding", "words"),
    [
        ({"type": "gone"}, "schedule-invalid", "gone"),
        ({"queue": "gone"}, "schedule-invalid", "no queue 'gone'"),
        ({"payload": {"nonsense": 1}, "type": "welcome-email"}, "schedule-invalid", "email"),
        ({"cron": "30 2 30 2 *"}, "schedule-invalid", "30 2 30 2 *"),
        ({"time_zone": "Mars/Olympus"}, "schedule-invalid", "Mars/Olympus"),
        ({"ends_at": timezone.now() - dt.timedelta(hours=1)}, "schedule-ended", "has ended at"),
        ({"cron": FAR, "ends_at": timezone.now() + dt.timedelta(days=1)}, "schedule-never", "no slot"),
    ],
)
def test_a_schedule_that_can_never_run_is_named_with_the_reason(
    changes: dict[str, Any], finding: str, words: str
) -> None:
    stored("good")
    Schedule.objects.filter(pk=stored("bad").pk).update(**changes)
    (found,) = timetable.rows()
    assert found.name == finding
    assert "the schedule bad" in found.sentence
    assert words in found.sentence
    assert "python manage.py schedules pause bad" in found.fix
    schedules.pause("bad", who="alice")
    assert list(by_name(timetable.rows())) == ["ok"]


def test_a_schedule_whose_queue_nobody_serves_is_named() -> None:
    stored("bad", queue="low")
    make_lease(queues=["high"])
    (found,) = timetable.rows()
    assert (found.name, found.fix) == ("schedule-unserved", "start one: python manage.py rqworker low")


def test_a_type_whose_queue_is_gone_makes_its_schedules_invalid(settings: Any) -> None:
    stored("bad")
    settings.JOBS_QUEUES = "high low"
    (found,) = timetable.rows()
    assert found.name == "schedule-invalid"
    assert "default" in found.sentence


def test_a_schedule_that_schedulers_do_not_look_at_is_named() -> None:
    queue.broker().hset("rq:scheduler_instance:one", "birth", "now")
    Schedule.objects.filter(pk=stored("bad").pk).update(due_at=timezone.now() - dt.timedelta(minutes=5))
    (found,) = timetable.rows()
    assert found.name == "schedule-late"


def test_of_many_findings_the_first_are_shown() -> None:
    for number in range(timetable.SHOWN + 3):
        stored(f"bad-{number:02}")
    Schedule.objects.update(type="gone")
    found = list(timetable.rows())
    assert len(found) == timetable.SHOWN + 1
    assert found[-1].sentence.startswith("3 more schedules")


# --- surroundings -----------------------------------------------------------------------------------------------


@contextmanager
def mail_server(greeting: bytes) -> Iterator[int]:
    """Says one thing to each who connects, then answers to EHLO and QUIT."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    peer.sendall(greeting)
                    while peer.recv(1000):
                        peer.sendall(b"250 fine\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


SMTP = "django.core.mail.backends.smtp.EmailBackend"


def test_a_mail_server_is_greeted_and_gets_no_mail(settings: Any) -> None:
    settings.EMAIL_BACKEND, settings.EMAIL_HOST = SMTP, "127.0.0.1"
    with mail_server(b"220 hello\r\n") as settings.EMAIL_PORT:
        (found,) = surroundings.mails()
        assert found.level == "ok"
    with mail_server(b"554 go away\r\n") as settings.EMAIL_PORT:
        (found,) = surroundings.mails()
        assert (found.name, found.level) == ("mail-server", "failure")
    settings.EMAIL_PORT = free_port()
    (found,) = surroundings.mails()
    assert "refused" in found.sentence
    settings.EMAIL_HOST = "localhost"
    (found,) = surroundings.mails()
    assert found.level == "warning"


def test_an_outbox_that_is_a_file_is_named(settings: Any, tmp_path: Path) -> None:
    settings.EMAIL_BACKEND, settings.EMAIL_FILE_PATH = "jobsite.mail.OutboxBackend", str(tmp_path / "new")
    assert list(by_name(surroundings.mails())) == ["ok"]
    (tmp_path / "file").touch()
    settings.EMAIL_FILE_PATH = str(tmp_path / "file")
    assert by_name(surroundings.mails())["mail-folder"].level == "failure"


def test_static_files_that_were_not_collected_are_named(settings: Any, tmp_path: Path) -> None:
    assert list(by_name(surroundings.static_files())) == ["ok"]
    settings.DEBUG = settings.WHITENOISE_USE_FINDERS = False
    settings.STATIC_ROOT = tmp_path
    assert "collectstatic" in by_name(surroundings.static_files())["static-missing"].fix
    (tmp_path / "admin/css").mkdir(parents=True)
    (tmp_path / "admin/css/base.css").touch()
    assert list(by_name(surroundings.static_files())) == ["ok"]


def test_in_production_the_demo_and_a_weak_key_for_callbacks_are_named(settings: Any) -> None:
    settings.DEBUG, settings.SECRET_KEY = False, "django-insecure-" + "x" * 50
    found = by_name(surroundings.project())
    assert {"demo-on", "callback-secret"} <= set(found)
    settings.JOBS_WEBHOOK_SECRET, settings.JOBS_DEMO = "y" * 40, "0"
    assert not {"demo-on", "callback-secret"} & set(by_name(surroundings.project()))


def test_a_data_dir_that_is_not_there_yet_is_judged_by_the_folder_that_is(settings: Any, tmp_path: Path) -> None:
    settings.JOBS_DATA_DIR = tmp_path / "not" / "yet"
    assert list(by_name(surroundings.disk())) == ["ok"]
    assert conf().data_dir == tmp_path / "not" / "yet"
