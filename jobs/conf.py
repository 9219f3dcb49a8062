"""Settings of the job system: the only reader of Django's settings in this app.

Each field is the Django setting `JOBS_<FIELD IN CAPITALS>`; text (from an environment variable) is
converted. Durations carry their unit in the name. `manage.py check` reports what is wrong by name.
"""

from __future__ import annotations

import difflib
import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from django.conf import settings as django_settings
from django.core.signals import setting_changed
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from jobs import failpoints

PREFIX = "JOBS_"


def _words(value: Any) -> Any:
    return value.replace(",", " ").split() if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_words)]

QUEUE_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Conf(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # fmt: off
    data_dir: Path = Field(Path("var"), description="Folder of everything this system writes to disk: database, broker, outbox, effects.log.")
    database: str = Field("default", min_length=1, description="Alias in DATABASES of the job system's tables; every read and write of theirs goes there, whatever routers a project has.")
    demo: bool = Field(False, description="Registers the type `echo`, for trying things out.")
    queues: Words = Field(("high", "default", "low"), min_length=1, description="Queues that exist, most urgent first; workers serve them in this order.")

    redis_url: str = Field("", description="Redis of the job system: redis://, rediss:// or unix://, with redis-py's options. Empty: what RQ_QUEUES says of the first queue of JOBS_QUEUES that it has.")

    max_attempts: int = Field(5, ge=1, le=100, description="Failures allowed to a job whose type and request do not say.")
    max_crashes: int = Field(3, ge=1, le=100, description="Times a job may take its process down before it is failed.")
    timeout_s: int = Field(300, ge=1, le=86_400, description="Soft timeout of an attempt, in seconds, where type and request do not say.")
    hard_timeout_extra_s: float = Field(10, ge=0.5, description="Seconds after the soft timeout at which the process is killed.")
    stop_grace_s: float = Field(25, ge=0, description="Seconds a stopping worker lets running handlers finish.")
    concurrency: int = Field(10, ge=1, le=1000, description="Handler threads of a worker.")
    horses: int = Field(0, ge=0, le=100, description="Processes of a worker that share its threads; 0 for one, and more while it is busy: up to one for each 5 threads, but no more than cores.")
    horse_quiet_s: float = Field(30, ge=3, description="Seconds with hardly any work after which a process leaves that was started because the worker was busy.")
    horse_max_jobs: int = Field(0, ge=0, description="Jobs after which a worker's process is replaced; 0 for never.")
    horse_max_rss_mb: int = Field(0, ge=0, description="Resident memory in MiB above which a worker's process is replaced; 0 for no limit.")

    lease_s: float = Field(15, ge=3, description="Seconds without a renewal after which a lease is taken for dead.")
    renew_s: float = Field(3, gt=0, description="Seconds between two renewals of a lease; at most a third of lease_s.")
    lost_margin_s: float = Field(5, gt=0, description="Seconds a queued job may be older than its queue's head before its push counts as lost.")
    housekeeping_s: float = Field(1, gt=0, description="Seconds between two turns of housekeeping.")

    broker_budget_s: float = Field(0.2, gt=0, description="Seconds an accepted job may spend on reaching Redis; after that housekeeping delivers it.")
    breaker_s: float = Field(1, ge=0, description="Seconds for which pushes are not tried after one failed.")
    mirror_ttl_s: int = Field(86_400, ge=60, description="Seconds a job's status stays in Redis after its last change.")
    mirror_trust_s: float = Field(5, ge=0, description="Seconds for which a mirrored status other than succeeded is believed.")

    payload_max_bytes: int = Field(262_144, ge=1024, description="Largest job, in bytes of JSON as sent.")
    batch_max_bytes: int = Field(8_388_608, ge=1024, description="Largest batch, in bytes of JSON as sent.")
    batch_max_jobs: int = Field(1000, ge=1, description="Most jobs in one batch.")
    json_max_depth: int = Field(64, ge=4, le=200, description="Deepest nesting of a payload.")
    result_max_bytes: int = Field(262_144, ge=1024, description="Largest result a handler may return, in bytes of JSON.")
    log_max_lines: int = Field(1000, ge=0, description="Lines of job.log kept for one attempt.")

    key_retention_days: int = Field(400, ge=1, description="Days an idempotency key is remembered.")
    job_retention_days: int = Field(30, ge=0, description="Days a finished job is kept; failed ones are kept three times as long.")
    stats_retention_days: int = Field(400, ge=1, description="Days the statistics are kept.")

    rate_limit: str = Field("6000/min", pattern=r"^(\d+/(s|sec|m|min|h|hour|d|day))?$", description="Requests an API key may make; empty for no limit.")
    webhook_secret: str = Field("", description="Key that callbacks are signed with; derived from SECRET_KEY when empty.")
    webhook_allow_private: bool = Field(False, description="Lets callbacks and health checks reach private and loopback addresses.")
    fail: str = Field("", description="Fail-points for tests, `name:nth:kill|stop|raise|sleep|drop`; refused unless DEBUG is on.")
    # fmt: on

    @field_validator("queues")
    @classmethod
    def _have_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [name for name in names if not QUEUE_NAME.fullmatch(name)]:
            raise ValueError(f"no name for a queue: {wrong[0]!r} (letters, digits and . _ -, at most 64)")
        return names

    @field_validator("fail")
    @classmethod
    def _has_known_points(cls, text: str) -> str:
        failpoints.parse(text)
        return text

    @property
    def existing_dir(self) -> Path:
        """The data dir, or the nearest folder above it: the app alone makes it only when it writes there."""
        return next(path for path in (self.data_dir, *self.data_dir.absolute().parents) if path.exists())

    @property
    def effects_log(self) -> Path:
        return self.data_dir / "effects.log"


LINK = re.compile(
    r"(\w+_)?(NAME|ENV_\w+|SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+)*(_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR|START|END))?)?)"
)
"""The variables that Kubernetes and Docker set in every container for a service whose name begins with `jobs`."""

UNIT = re.compile(r"_(s|secs?|seconds|ms|min|minutes|h|hours|days|bytes|kb|mb|mib)$")

CLOSE, REMINDS = 0.81, 0.6
"""Likeness (`difflib`) of a name that is taken for a slip of the pen, and of one that is worth a hint. By 0.81 the
JOBS_DATABASE_URL of a hosting platform stays out (0.80 from JOBS_DATABASE), and one wrong letter in six stays in."""


def stated() -> dict[str, Any]:
    """What Django's settings say, by field name. Only names that are ours, or are so close that they must be meant so."""
    return {field: value for field, value in _prefixed().items() if field in Conf.model_fields or _is_slip(field)}


def foreign() -> list[str]:
    """The fields of settings that begin as ours do, and belong to somebody else: not to a platform, whose names are known."""
    return [
        field
        for field in _prefixed()
        if field not in Conf.model_fields and not _is_slip(field) and not LINK.fullmatch(field.upper())
    ]


def nearest(field: str) -> str | None:
    """The field that a name reminds of."""
    found = max(Conf.model_fields, key=lambda known: _likeness(field, known))
    return found if _likeness(field, found) >= REMINDS else None


def _prefixed() -> dict[str, Any]:
    names = [name for name in dir(django_settings) if name.startswith(PREFIX)]
    return {name.removeprefix(PREFIX).lower(): getattr(django_settings, name) for name in names}


def _is_slip(field: str) -> bool:
    return not LINK.fullmatch(field.upper()) and any(_likeness(field, known) >= CLOSE for known in Conf.model_fields)


def _likeness(field: str, known: str) -> float:
    """From 0 to 1. Units and the order of letters are not what tells two names apart."""
    if sorted(field) == sorted(known):
        return 1.0
    pairs = (field, known), (UNIT.sub("", field), UNIT.sub("", known))
    return max(difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs)


def rq_queues() -> dict[str, dict[str, Any]]:
    """django-rq's setting, which is the project's: its own queues, and ours where it names them."""
    return getattr(django_settings, "RQ_QUEUES", None) or {}


def rq_options() -> dict[str, Any]:
    """django-rq's setting `RQ`, which holds for all queues of the project."""
    return getattr(django_settings, "RQ", None) or {}


def database_alias() -> str:
    """Return `JOBS_DATABASE`, also while other settings are not valid: checks and routers ask before anything is judged."""
    return str(getattr(django_settings, f"{PREFIX}DATABASE", Conf.model_fields["database"].default))


@lru_cache(maxsize=1)
def conf() -> Conf:
    """The settings, read once. Raises pydantic.ValidationError, which `checks.py` puts into words."""
    return Conf(**stated())


def _forget(*, setting: str, **_: Any) -> None:
    if setting.startswith(PREFIX):
        conf.cache_clear()


setting_changed.connect(_forget, dispatch_uid="jobs.conf")
