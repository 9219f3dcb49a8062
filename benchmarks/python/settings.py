"""Django's settings, for the peers that live in a Django project."""

import os

import dj_database_url

SECRET_KEY = os.environ.get("SECRET_KEY", "unused: nothing here signs anything")
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "urls"
USE_TZ = True
TIME_ZONE = "UTC"
INSTALLED_APPS = ["django_rq", "django_celery_results"]

REDIS_URL = os.environ["REDIS_URL"]
RQ_QUEUES = {"default": {"URL": REDIS_URL}}

# A connection is kept, and SQLite is set as one would set it in production. synchronous is FULL when nothing is said.
DATABASES = {"default": dj_database_url.parse(os.environ.get("DATABASE_URL", "sqlite://:memory:"), conn_max_age=None)}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 30,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL",
    }

# Celery closes the connection after each task unless it is told how often one may be used.
CELERY_DB_REUSE_MAX = 10_000
CELERY_BROKER_URL = REDIS_URL
CELERY_RESULT_BACKEND = os.environ.get("CELERY_RESULT_BACKEND")
CELERY_TASK_IGNORE_RESULT = CELERY_RESULT_BACKEND is None
CELERY_WORKER_PREFETCH_MULTIPLIER = int(os.environ.get("CELERY_PREFETCH", "4"))
