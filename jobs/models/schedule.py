"""Schedule: when which job is created by itself. DroppedSlots: what its policies left out. ClockStep: alarms."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from jobs.models.documents import DocumentField


class Schedule(models.Model):
    """A cron expression or an interval, and what is done about slots that were missed or overlap."""

    class CatchUp(models.TextChoices):
        NONE = "none"
        LAST = "last"
        ALL = "all"

    class Overlap(models.TextChoices):
        ALLOW = "allow"
        SKIP = "skip"
        CANCEL = "cancel"
        BUFFER = "buffer"

    name = models.CharField(max_length=100, unique=True)
    type = models.CharField(max_length=100)
    payload = DocumentField(default=dict, blank=True)
    queue = models.CharField(max_length=64, blank=True, default="", help_text="Empty: the type's own queue.")
    cron = models.CharField(max_length=200, blank=True, default="")
    every_s = models.PositiveIntegerField(null=True, blank=True, help_text="Seconds; instead of a cron expression.")
    anchor = models.DateTimeField(db_default=Now(), help_text="Interval slots are anchor + n * every_s.")
    time_zone = models.CharField(max_length=64, default="UTC", help_text="IANA name the cron expression is read in.")
    starts_at = models.DateTimeField(null=True, blank=True, help_text="No slot before this. Empty: no bound.")
    ends_at = models.DateTimeField(null=True, blank=True, help_text="No slot after this. Empty: no bound.")
    enabled = models.BooleanField(default=True)
    catch_up = models.CharField(max_length=8, choices=CatchUp, default=CatchUp.LAST)
    catch_up_window_s = models.PositiveIntegerField(default=86_400, help_text="Older missed slots are dropped.")
    catch_up_max = models.PositiveIntegerField(default=100, help_text="At most so many missed slots are made up for.")
    overlap = models.CharField(max_length=8, choices=Overlap, default=Overlap.ALLOW)
    jitter_s = models.PositiveIntegerField(default=0, help_text="Each slot's job starts up to so many seconds late.")
    pause_after_failures = models.PositiveIntegerField(
        default=0, help_text="Paused when so many of its jobs in a row have failed. 0: never."
    )
    is_declared = models.BooleanField(default=False, help_text="Declared in code.")
    is_overridden = models.BooleanField(default=False, help_text="Declared in code, and changed here since.")

    pointer = models.DateTimeField(null=True, editable=False, help_text="The last slot that was decided about.")
    due_at = models.DateTimeField(
        null=True, editable=False, help_text="When a scheduler has to look at it next; empty: now."
    )
    buffered_slot = models.DateTimeField(null=True, editable=False, help_text="Waits for the end of the latest job.")
    version = models.IntegerField(default=1, editable=False, help_text="Raised by every edit; fences a tick.")
    last_job_id = models.UUIDField(null=True, editable=False)
    recent = DocumentField(default=list, editable=False, help_text="The latest slots: [slot, job id, seconds late].")
    streak_since = models.DateTimeField(null=True, editable=False, help_text="Failures of earlier slots do not count.")
    paused_because = models.CharField(max_length=200, blank=True, default="", editable=False)
    last_note = models.TextField(blank=True, default="", editable=False, help_text="What a policy dropped last.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    changed_by = models.CharField(max_length=150, blank=True, default="", editable=False)

    class Meta:
        ordering = ("name",)
        permissions = [("run_schedule", "Can run a schedule now")]
        constraints = [
            models.CheckConstraint(
                name="schedule_cron_or_interval",
                condition=Q(cron="", every_s__gte=1) | (~Q(cron="") & Q(every_s__isnull=True)),
            )
        ]
        # A tick looks for what is due, each second; the usual answer is: nothing.
        indexes = [models.Index(fields=["due_at"], name="schedule_due", condition=Q(enabled=True))]

    def __str__(self) -> str:
        return self.name


class DroppedSlots(models.Model):
    """Slots of one schedule, next to each other, that got no job, and why."""

    class Because(models.TextChoices):
        CATCH_UP = "catch-up"
        WINDOW = "window"
        OVERLAP = "overlap"
        SUPERSEDED = "superseded"
        REFUSED = "refused"
        PAUSED = "paused"

    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="dropped")
    first = models.DateTimeField()
    last = models.DateTimeField()
    count = models.IntegerField(null=True, help_text="Empty: too many to count.")
    because = models.CharField(max_length=16, choices=Because)
    detail = models.TextField(blank=True, default="")
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ("-id",)
        indexes = [models.Index(fields=["schedule", "id"], name="dropped_of_schedule")]  # a schedule's page

    def __str__(self) -> str:
        return f"{self.count} × {self.because}"


class ClockStep(models.Model):
    """A scheduler saw the database's clock jump, against a clock that cannot."""

    step_s = models.FloatField(help_text="Negative: it stepped back.")
    noticed_by = models.CharField(max_length=150)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.step_s:+.1f} s"
