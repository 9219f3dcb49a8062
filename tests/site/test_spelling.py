"""Misspelt names of settings are named; a platform's variables are not taken for ours."""

from __future__ import annotations

import pytest

from jobsite.spelling import known_names, slip_count, slips
from tests.support.world import World


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DATABSE_URL", "DATABASE_URL"), ("DATABASE_URI", "DATABASE_URL"), ("REDIS_ULR", "REDIS_URL"),
        ("EMAIL_UR", "EMAIL_URL"), ("SECRETKEY", "SECRET_KEY"), ("ALOWED_HOSTS", "ALLOWED_HOSTS"), ("DEBG", "DEBUG"),
        ("ALLOWED_HOST", "ALLOWED_HOSTS"), ("redis_urls", "REDIS_URL"), ("REDIS_SENTINEL", "REDIS_SENTINELS"),
        ("BEHIND_TLS_PROXI", "BEHIND_TLS_PROXY"), ("SERVE_HEAD_TIMEOUT", "SERVE_HEAD_TIMEOUT_S"),
        ("JOB_QUEUES", "JOBS_QUEUES"), ("ENVFILE", "ENV_FILE"), ("DEFAULT_FROM_MAIL", "DEFAULT_FROM_EMAIL"),
    ],
)  # fmt: skip
def test_a_slip_is_named_with_what_was_meant(name: str, meant: str) -> None:
    assert slips([name]) == {name: meant}


def test_every_name_has_its_slips_and_none_is_taken_for_another() -> None:
    for name in known_names():
        assert slips([name]) == {}
        if len(name) > 5 and not name.startswith("JOBS_"):
            exchanged = name[:3] + name[4] + name[3] + name[5:]
            assert name[3] == name[4] or slips([exchanged]) == {exchanged: name}


def test_what_resembles_a_setting_that_is_stated_is_somebody_elses() -> None:
    assert slips(["REDIS_URL", "REDIS_URI", "DATABASE_URL", "DATABASE_URL2"]) == {}


PLATFORMS = [
    "REDIS_PORT",
    "REDIS_SERVICE_HOST",
    "REDIS_SERVICE_PORT",
    "REDIS_PORT_6379_TCP",
    "REDIS_HOST",
    "REDIS_TLS_URL",
    "REDIS_NAME",
    "DATABASE_NAME",
    "DATABASE_USER",
    "DATABASE_HOST",
    "DATABASE_PORT",
    "SECRET_KEY_BASE",
    "EMAIL_HOST",
    "EMAIL_PORT",
    "HOSTNAME",
    "HOME",
    "PATH",
    "PORT",
    "DJANGO_SETTINGS_MODULE",
    "PYTHONPATH",
    "PYTHONUNBUFFERED",
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_PORT",
    "GITHUB_ACTIONS",
    "CI",
    "DYNO",
    "USER",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LANG",
    "TERM",
    "NODE_ENV",
    "JOB_NAME",
    "JOB_ID",
    "BUILD_URL",
    "POSTGRES_PASSWORD",
    "PGHOST",
    "RUST_BACKTRACE",
    "FLY_APP_NAME",
    "RENDER",
    "RAILWAY_ENVIRONMENT",
    "AWS_REGION",
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "XDG_RUNTIME_DIR",
]


def test_a_platforms_variables_are_no_slips() -> None:
    assert slips(PLATFORMS) == {}


def test_letters_too_many_missing_wrong_or_exchanged_are_one_slip_each() -> None:
    assert [slip_count("abcd", other) for other in ("abcd", "abd", "abcde", "abxd", "abdc", "badc")] == [
        0,
        1,
        1,
        1,
        1,
        2,
    ]


def test_check_and_doctor_name_it_and_show_no_value(world: World, tmp_path) -> None:
    (tmp_path / "staging.env").write_text("ALOWED_HOSTS=secret-host\n")
    given = {"ENV_FILE": str(tmp_path / "staging.env"), "REDIS_ULR": "redis://user:secret@host", "REDIS_URL": ""}
    code, output = world.run("check", **given)
    assert code == 0
    for name, meant in (("REDIS_ULR", "REDIS_URL"), ("ALOWED_HOSTS", "ALLOWED_HOSTS")):
        assert f"{name} is not a setting, and {meant} is not set." in output
    assert "secret" not in output
    assert "jobs.W009" in world.ask("doctor", "--json", **given).stdout
