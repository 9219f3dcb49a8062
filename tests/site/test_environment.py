"""Settings: environment first, then the file, then defaults; what is wrong is said at once, in words."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from jobsite import services
from jobsite.environment import Environment, private_file
from tests.support.processes import ROOT

PRODUCTION = {
    "SECRET_KEY": "s" * 50,
    "DATABASE_URL": "postgres://jobs:secret@db.example.com:5433/jobs?sslmode=require",
    "REDIS_URL": "rediss://cache.example.com:6380/0",
}


def manage(tmp_path: Path, *arguments: str, env_file: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """`manage.py` with this environment and nothing else."""
    file = tmp_path / "env"
    file.write_text(env_file)
    bare = {"PATH": os.environ["PATH"], "ENV_FILE": str(file), "JOBS_DATA_DIR": str(tmp_path / "data")}
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *arguments],
        env={**bare, **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )


def read(tmp_path: Path, expression: str, **options: str) -> str:
    code = f"from django.conf import settings; print({expression})"
    done = manage(tmp_path, "shell", "--no-imports", "-c", code, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_production_names_all_that_is_missing_at_once_and_the_way_out(tmp_path):
    done = manage(tmp_path, "check")
    assert done.returncode == 1
    for name in ("SECRET_KEY", "DATABASE_URL", "REDIS_URL", "scripts/up"):
        assert name in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_empty_variable_is_one_that_is_not_set(tmp_path):
    empty = {"DEBUG": "", "SERVE_HEAD_TIMEOUT_S": "", "JOBS_DATA_DIR": ""}
    said = read(tmp_path, "(settings.DEBUG, str(settings.DATA_DIR))", env_file="DEBUG=1\n", **PRODUCTION, **empty)
    assert said == str((False, str(ROOT / "var")))


def test_debug_is_off_unless_it_is_set(tmp_path):
    assert read(tmp_path, "settings.DEBUG", **PRODUCTION) == "False"


def test_development_needs_nothing_but_debug(tmp_path):
    done = manage(tmp_path, "check", DEBUG="1")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("DEBUG", "perhaps", "DEBUG"),
        ("DATABASE_URL", "mysql://localhost/jobs", "DATABASE_URL"),
        ("DATABASE_URL", "postgres://", "names no database"),
        ("DATABASE_URL", "postgres://jobs@localhost:5432", "names no database"),
        ("SERVE_HEAD_TIMEOUT_S", "0", "SERVE_HEAD_TIMEOUT_S"),
        ("SERVE_BODY_TIMEOUT_S", "inf", "SERVE_BODY_TIMEOUT_S"),
        ("SERVE_HEAD_MAX_BYTES", "10", "SERVE_HEAD_MAX_BYTES"),
        ("REDIS_URL", "http://localhost", "REDIS_URL"),
        ("REDIS_URL", "redis://localhost:99999/0", "REDIS_URL"),
        ("REDIS_URL", "redis://localhost/0?bogus=1", "bogus"),
        ("REDIS_URL", "redis://localhost/0?socket_timeout=soon", "REDIS_URL"),
        ("REDIS_URL", "rediss://localhost/0?ssl_ca_certs=/nowhere.pem", "ssl_ca_certs=/nowhere.pem"),
        ("EMAIL_URL", "pigeon://roof", "EMAIL_URL"),
        ("EMAIL_URL", "smtp://localhost:99999", "EMAIL_URL"),
        ("EMAIL_URL", "smtp://localhost?timeout=soon", "EMAIL_URL"),
        ("ENV_FILE", "/nowhere.env", "ENV_FILE"),
        ("JOBS_LEASE_S", "inf", "JOBS_LEASE_S"),
        ("REDIS_SENTINELS", "one:26379", "REDIS_SENTINEL_SERVICE"),
        ("JOBS_CONCURRENCY", "many", "JOBS_CONCURRENCY"),
        ("JOBS_CONCURENCY", "5", "JOBS_CONCURRENCY"),
        ("JOBS_QUEUES", "default a/b", "a/b"),
        ("JOBS_DATA_DIR", "/proc/nowhere", "JOBS_DATA_DIR"),
    ],
)
def test_a_wrong_setting_is_named_without_a_traceback(tmp_path, name, value, words):
    done = manage(tmp_path, "check", **{"DEBUG": "1", name: value})
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("content", [b"\x7fELF\x02\x01\x00", bytes(range(256)), b"DEBUG=1\x00\n"])
def test_a_settings_file_that_is_no_text_is_one_sentence(tmp_path, content):
    file = tmp_path / "program"
    file.write_bytes(content)
    done = manage(tmp_path, "check", ENV_FILE=str(file))
    assert done.returncode == 1
    assert str(file) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_folder_is_no_settings_file(tmp_path):
    done = manage(tmp_path, "check", ENV_FILE=str(tmp_path))
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1


LINKS = {
    "JOBS_SERVICE_HOST": "10.0.0.1",
    "JOBS_SERVICE_PORT": "80",
    "JOBS_SERVICE_PORT_HTTP": "80",
    "JOBS_PORT": "tcp://10.0.0.1:80",
    "JOBS_PORT_80_TCP": "tcp://10.0.0.1:80",
    "JOBS_PORT_80_TCP_PROTO": "tcp",
    "JOBS_PORT_8000_8005_TCP_START": "8000",
    "JOBS_API_SERVICE_HOST": "10.0.0.1",
    "JOBS_API_PORT": "tcp://10.0.0.1:80",
    "JOBS_DATABASE_PORT_5432_TCP_ADDR": "10.0.0.2",  # close to JOBS_DATABASE
    "JOBS_QUEUES_SERVICE_PORT_METRICS": "9090",
    "JOBS_HORSES_PORT": "udp://10.0.0.3:53",
    "JOBS_NAME": "/web/jobs",
    "JOBS_API_ENV_DEBUG": "1",
}


def test_the_variables_that_a_platform_sets_for_its_services_are_no_settings(tmp_path):
    done = manage(tmp_path, "check", DEBUG="1", **LINKS)
    assert (done.returncode, "jobs." in done.stderr) == (0, False), done.stderr


def test_a_slip_is_named_also_between_the_variables_of_a_platform(tmp_path):
    done = manage(tmp_path, "check", DEBUG="1", JOBS_LEASE_SECONDS="9", **LINKS)
    assert done.returncode == 1
    assert "Did you mean JOBS_LEASE_S?" in done.stderr


def test_a_database_that_is_away_is_one_sentence(tmp_path):
    done = manage(tmp_path, "migrate", DEBUG="1", DATABASE_URL="postgres://nobody@127.0.0.1:1/jobs")
    assert done.returncode == 1
    assert "doctor" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(tmp_path):
    file = "DEBUG=1\nJOBS_CONCURRENCY=3\nJOBS_TIMEOUT_S=77\n"
    seen = read(
        tmp_path,
        "settings.JOBS_CONCURRENCY, settings.JOBS_TIMEOUT_S, settings.DEBUG",
        env_file=file,
        JOBS_CONCURRENCY="4",
    )
    assert seen == "4 77 True"


def test_a_relative_data_dir_counts_from_the_project(tmp_path):
    seen = read(tmp_path, "settings.JOBS_DATA_DIR", DEBUG="1", JOBS_DATA_DIR="var")
    assert seen == str(ROOT / "var")


def test_redis_may_cost_an_accepted_job_its_budget_and_no_retries(tmp_path):
    options = "settings.CACHES['default']['OPTIONS']"
    seen = read(
        tmp_path,
        f"{options}['SOCKET_TIMEOUT'], {options}['CONNECTION_POOL_KWARGS']['retry']._retries",
        DEBUG="1",
        JOBS_BROKER_BUDGET_S="0.5",
    )
    assert seen == "0.5 0"


def test_every_queue_of_ours_is_a_queue_of_rq(tmp_path):
    assert read(tmp_path, "list(settings.RQ_QUEUES)", DEBUG="1", JOBS_QUEUES="fast, slow") == "['fast', 'slow']"


def test_the_database_file_is_private(tmp_path):
    read(tmp_path, "1", DEBUG="1")
    mode = stat.S_IMODE((tmp_path / "data" / "jobs.sqlite3").stat().st_mode)
    assert mode == 0o600
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def environment(**stated: str) -> Environment:
    return Environment(_env_file=None, **stated)


def test_postgresql_connections_cannot_hold_rows_for_long():
    found = services.database(environment(database_url=PRODUCTION["DATABASE_URL"]))
    assert found["OPTIONS"]["options"] == (
        "-c idle_in_transaction_session_timeout=5000 -c lock_timeout=2000 -c client_connection_check_interval=1000"
    )
    assert found["OPTIONS"]["tcp_user_timeout"] == 10_000
    assert found["OPTIONS"]["sslmode"] == "require"
    assert (found["CONN_MAX_AGE"], found["CONN_HEALTH_CHECKS"]) == (None, True)


def test_sqlite_acknowledges_only_what_is_on_the_disk():
    options = services.database(environment(database_url="sqlite:////tmp/x.sqlite3"))["OPTIONS"]
    assert options["transaction_mode"] == "IMMEDIATE"
    assert "synchronous=FULL" in options["init_command"]
    assert "journal_mode=WAL" in options["init_command"]


def test_sentinels_are_asked_for_the_primary():
    stated = environment(redis_sentinels="a:26379, b:26380", redis_sentinel_service="myPrimary")
    found = services.cache(stated, "", 0.2)["OPTIONS"]
    assert found["SENTINELS"] == [("a", 26379), ("b", 26380)]
    assert found["CONNECTION_POOL_KWARGS"]["service_name"] == "myPrimary"
    assert found["SENTINEL_KWARGS"]["ssl"] is False


def test_sentinels_and_the_primary_have_passwords_and_tls_of_their_own(tmp_path):
    (tmp_path / "ca.pem").touch()
    stated = environment(
        redis_sentinels=f"rediss://sentinel:p%40ss@a:26379,b:26380?ssl_ca_certs={tmp_path}/ca.pem",
        redis_sentinel_service="jobs",
    )
    found = services.cache(stated, "rediss://jobs:secret@anywhere/3", 0.2)
    assert found["LOCATION"] == "rediss://jobs:secret@primary/3"
    how = found["OPTIONS"]["SENTINEL_KWARGS"]
    assert (how["username"], how["password"], how["ssl"]) == ("sentinel", "p@ss", True)
    assert how["ssl_ca_certs"] == f"{tmp_path}/ca.pem"
    assert how["retry"]._retries == 0
    assert "host" not in how


@pytest.mark.parametrize(
    ("sentinels", "url", "words"),
    [
        ("one", "", "host:port"),
        ("redis://:secret@", "", "host:port"),
        ("one:99999", "", "REDIS_SENTINELS"),
        ("http://one:26379", "", "REDIS_SENTINELS"),
        ("unix:///run/sentinel", "", "REDIS_SENTINELS"),
        ("redis://one:26379?bogus=1", "", "bogus"),
        ("rediss://one:26379?ssl_ca_certs=/nowhere.pem", "", "ssl_ca_certs=/nowhere.pem"),
        ("one:26379", "unix:///run/redis", "REDIS_URL"),
        ("one:26379", "redis://one/0?bogus=1", "REDIS_URL"),
    ],
)
def test_wrong_sentinels_are_named(sentinels, url, words):
    stated = environment(redis_sentinels=sentinels, redis_sentinel_service="jobs")
    with pytest.raises(ImproperlyConfigured, match=re.escape(words)):
        services.cache(stated, url, 0.2)


def test_redis_py_options_of_the_url_are_kept(tmp_path):
    (tmp_path / "ca.pem").touch()
    url = f"rediss://cache/0?ssl_ca_certs={tmp_path}/ca.pem"
    assert services.cache(environment(redis_url=url), url, 0.2)["LOCATION"] == url


@pytest.mark.parametrize(
    ("url", "port", "uses_ssl", "uses_tls"),
    [
        ("smtp://mail.example.com", 25, False, False),
        ("smtps://user:p%40ss@mail.example.com", 465, True, False),
        ("smtp+tls://user:p%40ss@mail.example.com:2525", 2525, False, True),
    ],
)
def test_the_scheme_of_the_mail_url_says_how_to_encrypt(url, port, uses_ssl, uses_tls):
    found = services.mail(environment(email_url=url))
    assert (found["EMAIL_PORT"], found["EMAIL_USE_SSL"], found["EMAIL_USE_TLS"]) == (port, uses_ssl, uses_tls)
    assert found["EMAIL_HOST_PASSWORD"] == ("p@ss" if "@" in url else "")


def test_of_two_writers_of_a_private_file_the_first_wins(tmp_path):
    path = tmp_path / "secret"
    assert private_file(path, "first").read_text() == "first"
    assert private_file(path, "second").read_text() == "first"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
