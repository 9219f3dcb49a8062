"""Event: one row a transition, append-only. LogLine: what a handler said with job.log."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from jobs import lifecycle
from jobs.models.job import Job


class Event(models.Model):
    """One transition that happened, written in the commit that made it happen."""

    # No database constraint: events are only written beside a locked job row, and pruning deletes both.
    job = models.ForeignKey(Job, on_delete=models.CASCADE, db_constraint=False, related_name="events")
    event = models.CharField(max_length=16, choices=[(e.value, e.value.replace("_", " ")) for e in lifecycle.Event])
    source = models.CharField(max_length=16, null=True)
    target = models.CharField(max_length=16)
    attempt = models.IntegerField()
    actor = models.CharField(max_length=16, choices=[(a.value, a.value) for a in lifecycle.Actor])
    who = models.CharField(max_length=150, default="", help_text="Worker, client, or operator by name.")
    at = models.DateTimeField(db_default=Now())
    run_after = models.DateTimeField(null=True, help_text="When the next attempt is due (retry, or a delayed submit).")
    error_code = models.CharField(max_length=64, null=True)
    error_text = models.TextField(null=True, help_text="Message and traceback.")

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return f"{self.event} of {self.job_id}"


class LogLine(models.Model):
    job = models.ForeignKey(Job, on_delete=models.CASCADE, db_constraint=False, related_name="log_lines")
    attempt = models.IntegerField()
    at = models.DateTimeField()
    level = models.CharField(max_length=8)
    message = models.TextField()

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return self.message
