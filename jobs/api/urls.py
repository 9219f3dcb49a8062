"""Where the API is: `urlpatterns` below /api/, `root_urlpatterns` at the root."""

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
    path("jobs", Jobs.as_view()),
    path("jobs/batch", Batch.as_view()),
    path("jobs/<str:id>", JobDetail.as_view()),
    path("jobs/<str:id>/status", JobStatus.as_view()),
    path("jobs/<str:id>/cancel", Cancel.as_view()),
    path("jobs/<str:id>/retry", Retry.as_view()),
    path("job-types", JobTypes.as_view()),
    path("job-types/<str:type>", OneJobType.as_view()),
    path("queues", Queues.as_view()),
    path("queues/<str:name>/pause", PauseQueue.as_view()),
    path("queues/<str:name>/resume", ResumeQueue.as_view()),
    path("schedules", Schedules.as_view()),
    path("schedules/<str:name>", OneSchedule.as_view()),
    path("schedules/<str:name>/run", RunSchedule.as_view()),
    path("schedules/<str:name>/pause", PauseSchedule.as_view()),
    path("schedules/<str:name>/resume", ResumeSchedule.as_view()),
    path("stats", Stats.as_view()),
    path("schema", ApiSchema.as_view(), name="jobs-api-schema"),
    path("docs", Docs.as_view(), name="jobs-api-docs"),
]

root_urlpatterns = [
    path("health/live", Live.as_view()),
    path("health/ready", Ready.as_view()),
    path("metrics", Metrics.as_view()),
]
