"""Django's settings. What differs between machines comes from `environment.py`."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from django.conf import global_settings

from jobs.conf import Conf
from jobsite import broker, environment, services
from jobsite.environment import BASE_DIR

_env = environment.load()
_jobs = environment.jobs_settings()
DATA_DIR = environment.private_dir(_env.data_dir)

# Every JOBS_X becomes the Django setting of that name; `manage.py check` judges them all.
globals().update(_jobs)
JOBS_DATA_DIR = str(DATA_DIR)

DEBUG = _env.debug
SECRET_KEY = _env.secret_key or environment.private_file(DATA_DIR / "secret-key", secrets.token_urlsafe(50)).read_text()
ALLOWED_HOSTS = _env.allowed_hosts.replace(",", " ").split() or (
    ["*"] if DEBUG else ["localhost", "127.0.0.1", "[::1]"]
)
CSRF_TRUSTED_ORIGINS = _env.csrf_trusted_origins.replace(",", " ").split()
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _env.behind_tls_proxy else None
FORCE_SCRIPT_NAME = _env.force_script_name or None
X_FRAME_OPTIONS = "DENY"

SERVE_HEAD_TIMEOUT_S = _env.serve_head_timeout_s
SERVE_BODY_TIMEOUT_S = _env.serve_body_timeout_s
SERVE_HEAD_MAX_BYTES = _env.serve_head_max_bytes

INSTALLED_APPS = [
    # Without its autodiscovery, which `urls.py` does: workers need no pages of the admin.
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "jobsite",
    # Before django_rq: of two commands with one name Django takes the earlier app's.
    "jobs",
    "django_rq",
]

MIDDLEWARE = [
    "jobs.api.middleware.Problems",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "jobsite.middleware.ContentSecurityPolicy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "jobsite.middleware.Common",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "jobsite.urls"
WSGI_APPLICATION = "jobsite.wsgi.application"
ASGI_APPLICATION = "jobsite.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {"default": services.database(_env)}
if DATABASES["default"]["ENGINE"] == "jobs.sqlite3":
    # SQLite gives its write-ahead log the mode of the database, so the file is made here, private.
    environment.private_file(
        Path(DATABASES["default"]["NAME"]), setting="DATABASE_URL" if _env.database_url else "JOBS_DATA_DIR"
    )
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

IS_BROKER_EMBEDDED = _env.is_broker_embedded
REDIS_URL = broker.url(DATA_DIR) if IS_BROKER_EMBEDDED else _env.redis_url
_budget_s = environment.seconds(_jobs.get("JOBS_BROKER_BUDGET_S"), Conf.model_fields["broker_budget_s"].default)
CACHES = {"default": services.cache(_env, REDIS_URL, _budget_s)}

_queues = _jobs.get("JOBS_QUEUES", " ".join(Conf.model_fields["queues"].default)).replace(",", " ").split()
RQ_QUEUES: dict[str, dict[str, Any]] = {
    name: {**services.rq_queue(_env, REDIS_URL), "QUEUE_CLASS": "jobs.queue.RqQueue"} for name in _queues
}
# Its dashboard runs RQ's unlocked clean-up when it only looks, which doubles jobs.
RQ_SHOW_ADMIN_LINK = False

EMAIL_FILE_PATH = str(DATA_DIR / "outbox")
# The page that shows the API's description. Its views state everything else of Django REST framework themselves.
SPECTACULAR_SETTINGS = {
    "TITLE": "Jobs API",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"persistAuthorization": True, "deepLinking": True},
}

globals().update(services.mail(_env))
DEFAULT_FROM_EMAIL = SERVER_EMAIL = _env.default_from_email

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"  # below the prefix, where there is one
STORAGES = {**global_settings.STORAGES, "staticfiles": {"BACKEND": "jobsite.storage.Static"}}
STATIC_ROOT = BASE_DIR / "static"
# Served from the apps' own folders: nothing has to be collected before the first start.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "jobsite.logs.Line"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    # Django's own handlers would print a second time, in another form.
    "loggers": {
        "django": {"handlers": [], "propagate": True},
        "django.server": {"handlers": [], "propagate": True},
        "rq": {"level": "WARNING"},
        "rq_scheduler": {"level": "WARNING"},
        "watchfiles": {"level": "WARNING"},
    },
}
