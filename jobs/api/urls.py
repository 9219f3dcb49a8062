"""The API's routes: `urlpatterns` for wherever a project mounts them, `root_urlpatterns` for the root. `mounts.py` knows them by name."""

from __future__ import annotations

from django.urls import path

from jobs.api.acting import Cancel, Retry
from jobs.api.catalogue import JobTypes, OneJobType, PauseQueue, Queues, ResumeQueue, Stats
from jobs.api.describing import ApiSchema, Docs
from jobs.api.health import Live, Metrics, Ready
from jobs.api.reading import JobDetail, JobStatus
from jobs.api.schedules import OneSchedule, PauseSchedule, ResumeSchedule, RunSchedule, Schedules
from jobs.api.submitting import Batch, Jobs

urlpatterns = [
    path("jobs", Jobs.as_view(), name="jobs-api-jobs"),
    path("jobs/batch", Batch.as_view(), name="jobs-api-batch"),
    path("jobs/<str:id>", JobDetail.as_view(), name="jobs-api-job"),
    path("jobs/<str:id>/status", JobStatus.as_view(), name="jobs-api-status"),
    path("jobs/<str:id>/cancel", Cancel.as_view(), name="jobs-api-cancel"),
    path("jobs/<str:id>/retry", Retry.as_view(), name="jobs-api-retry"),
    path("job-types", JobTypes.as_view(), name="jobs-api-types"),
    path("job-types/<str:type>", OneJobType.as_view(), name="jobs-api-type"),
    path("queues", Queues.as_view(), name="jobs-api-queues"),
    path("queues/<str:name>/pause", PauseQueue.as_view(), name="jobs-api-pause-queue"),
    path("queues/<str:name>/resume", ResumeQueue.as_view(), name="jobs-api-resume-queue"),
    path("schedules", Schedules.as_view(), name="jobs-api-schedules"),
    path("schedules/<str:name>", OneSchedule.as_view(), name="jobs-api-schedule"),
    path("schedules/<str:name>/run", RunSchedule.as_view(), name="jobs-api-run-schedule"),
    path("schedules/<str:name>/pause", PauseSchedule.as_view(), name="jobs-api-pause-schedule"),
    path("schedules/<str:name>/resume", ResumeSchedule.as_view(), name="jobs-api-resume-schedule"),
    path("stats", Stats.as_view(), name="jobs-api-stats"),
    path("schema", ApiSchema.as_view(), name="jobs-api-schema"),
    path("docs", Docs.as_view(), name="jobs-api-docs"),
]

root_urlpatterns = [
    path("health/live", Live.as_view(), name="jobs-root-live"),
    path("health/ready", Ready.as_view(), name="jobs-root-ready"),
    path("metrics", Metrics.as_view(), name="jobs-root-metrics"),
]
