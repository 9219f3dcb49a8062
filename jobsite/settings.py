from pathlib import Path
import os
BASE_DIR = Path(__file__).resolve().parent.parent
DEBUG=True
SECRET_KEY="x"*50
JOBS_DATA_DIR=os.environ.get("JOBS_DATA_DIR", str(BASE_DIR/"var"))
JOBS_DEMO=True
Path(JOBS_DATA_DIR).mkdir(exist_ok=True)
ALLOWED_HOSTS=["*"]
INSTALLED_APPS=["django.contrib.admin","django.contrib.auth","django.contrib.contenttypes","django.contrib.sessions","django.contrib.messages","django.contrib.staticfiles","rest_framework","jobs","django_rq"]
MIDDLEWARE=["django.middleware.security.SecurityMiddleware","django.contrib.sessions.middleware.SessionMiddleware","django.middleware.common.CommonMiddleware","django.middleware.csrf.CsrfViewMiddleware","django.contrib.auth.middleware.AuthenticationMiddleware","django.contrib.messages.middleware.MessageMiddleware"]
ROOT_URLCONF="jobsite.urls"
TEMPLATES=[{"BACKEND":"django.template.backends.django.DjangoTemplates","APP_DIRS":True,"OPTIONS":{"context_processors":["django.template.context_processors.request","django.contrib.auth.context_processors.auth","django.contrib.messages.context_processors.messages"]}}]
import dj_database_url
u=os.environ.get("DATABASE_URL")
if u: DATABASES={"default": dj_database_url.parse(u, conn_max_age=None)}
else: DATABASES={"default":{"ENGINE":"django.db.backends.sqlite3","NAME":str(Path(JOBS_DATA_DIR)/"jobs.sqlite3"),"CONN_MAX_AGE":None,
 "OPTIONS":{"transaction_mode":"IMMEDIATE","timeout":5,"init_command":"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=5000;"}}}
REDIS_URL=os.environ.get("REDIS_URL","redis://localhost:6379/0")
CACHES={"default":{"BACKEND":"django_redis.cache.RedisCache","LOCATION":REDIS_URL}}
USE_TZ=True
RQ_QUEUES={q:{"URL":REDIS_URL} for q in ("high","default","low")}
RQ={"JOB_CLASS":"jobs.queue.RqJob","WORKER_CLASS":"jobs.worker.Worker","SCHEDULER_CLASS":"jobs.scheduler.Scheduler"}
STATIC_URL="static/"
