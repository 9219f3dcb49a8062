"""Job and IdempotencyKey: what was accepted, in one commit."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from jobs import lifecycle
from jobs.lifecycle import Status
from jobs.models.documents import DocumentField


class Job(models.Model):
    """One accepted request, and where it stands."""

    class Source(models.TextChoices):
        API = "api"
        COMMAND = "command"
        SCHEDULE = "schedule"
        PYTHON = "python"
        CALLBACK = "callback"

    id = models.UUIDField(primary_key=True, editable=False, help_text="UUIDv7: sorts by time of creation.")
    type = models.CharField(max_length=100)
    queue = models.CharField(max_length=64)
    client = models.CharField(max_length=64, help_text="Who may see it: the API key's client, or 'system…'.")
    source = models.CharField(max_length=16, choices=Source)
    key = models.CharField(max_length=255, null=True, help_text="The idempotency key it was created under.")
    payload = DocumentField(help_text="As it was sent, before defaults.")
    options = DocumentField(default=dict, help_text="The request's other members, as they were sent.")
    callback_url = models.URLField(max_length=2000, null=True)

    status = models.CharField(max_length=16, choices=[(s.value, s.value.replace("_", " ")) for s in Status])
    version = models.IntegerField(
        default=1, help_text="Raised by every transition; tells mirrors what is newer, and makes the fence."
    )
    attempt = models.IntegerField(default=0, help_text="How often its handler was started.")
    lease = models.ForeignKey(
        "jobs.Lease", null=True, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="jobs"
    )
    failures = models.IntegerField(default=0)
    failures_allowed = models.IntegerField(help_text="The failure that reaches it is the last; rerun raises it.")
    crashes = models.IntegerField(default=0)
    crashes_allowed = models.IntegerField()
    max_attempts = models.IntegerField(help_text="What one run of the job is granted in failures.")
    timeout_s = models.IntegerField()
    has_effects = models.BooleanField(default=False)

    created_at = models.DateTimeField(db_default=Now())
    run_after = models.DateTimeField(null=True, help_text="Not before this; the due time of the latest attempt.")
    queued_at = models.DateTimeField(null=True, help_text="When it was (last) pushed: the order of its queue's list.")
    started_at = models.DateTimeField(null=True, help_text="Start of the latest attempt.")
    finished_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    cancel_requested_by = models.CharField(max_length=150, null=True)

    progress = DocumentField(null=True)
    result = DocumentField(null=True)
    error_code = models.CharField(max_length=64, null=True)
    error_message = models.TextField(null=True)

    class Meta:
        ordering = ("-id",)
        permissions = [
            (f"{event}_job", f"Can {event.value.replace('_', ' ')} jobs")
            for event in lifecycle.Event
            if event in lifecycle.TRANSITIONS
            and lifecycle.Actor.OPERATOR in lifecycle.TRANSITIONS[event].actors
            and event is not lifecycle.Event.REQUEST_CANCEL  # the same button as cancel
        ]
        constraints = [
            models.CheckConstraint(name="job_status_known", condition=Q(status__in=[s.value for s in Status])),
            models.CheckConstraint(
                name="job_finished_at_iff_final",
                condition=Q(status__in=[s.value for s in lifecycle.FINAL], finished_at__isnull=False)
                | Q(status__in=[s.value for s in lifecycle.OPEN], finished_at__isnull=True),
            ),
            models.CheckConstraint(
                name="job_lease_while_running", condition=~Q(status=Status.RUNNING) | Q(lease__isnull=False)
            ),
        ]
        indexes = [
            # Housekeeping: what is due, and what Redis lost, oldest first. Only open jobs stand in them.
            models.Index(fields=["run_after"], name="job_due", condition=Q(status=Status.SCHEDULED)),
            models.Index(fields=["queue", "queued_at"], name="job_queued", condition=Q(status=Status.QUEUED)),
            models.Index(fields=["lease"], name="job_running", condition=Q(status=Status.RUNNING)),
            # Lists (API and admin): newest first by id within one filter; pruning by finished_at.
            models.Index(fields=["status", "id"], name="job_by_status"),
            models.Index(fields=["type", "id"], name="job_by_type"),
            models.Index(fields=["client", "id"], name="job_by_client"),
            # None of the key, which is random: each change of status would write to it. Keys have a table, whose rows rest.
            models.Index(fields=["finished_at"], name="job_finished", condition=Q(finished_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.id}"


class JobTag(models.Model):
    job = models.ForeignKey(Job, on_delete=models.CASCADE, db_constraint=False, related_name="tags")
    tag = models.CharField(max_length=64)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tag", "job"], name="jobtag_once")]

    def __str__(self) -> str:
        return self.tag


class IdempotencyKey(models.Model):
    """A key, for longer than its job: a replay after pruning is answered from `tombstone`."""

    client = models.CharField(max_length=64)
    key = models.CharField(max_length=255)
    job_id = models.UUIDField()
    salt = models.BinaryField(max_length=16)
    fingerprint = models.BinaryField(max_length=32)
    algorithm = models.SmallIntegerField()
    created_at = models.DateTimeField(db_default=Now())
    replays = models.IntegerField(default=0)
    last_replayed_at = models.DateTimeField(null=True)
    tombstone = DocumentField(null=True, help_text="The pruned job's last status document, without its result.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["client", "key"], name="idempotencykey_once_per_client")]
        indexes = [
            models.Index(fields=["created_at"], name="idempotencykey_age"),  # pruning
            models.Index(fields=["job_id"], name="idempotencykey_by_job"),  # the job's page; the tombstone
            # Searches, for jobs as well. PostgreSQL: pattern operators, so that beginnings are found under any collation.
            models.Index(fields=["key"], name="idempotencykey_by_key", opclasses=["varchar_pattern_ops"]),
        ]

    def __str__(self) -> str:
        return self.key
