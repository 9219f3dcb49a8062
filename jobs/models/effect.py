"""Effect: a named side effect of a job, reserved before it happens."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from jobs.models.documents import DocumentField
from jobs.models.job import Job


class Effect(models.Model):
    """Its truth: executing until the block ended, then done, not_done, or in_doubt."""

    class Status(models.TextChoices):
        EXECUTING = "executing"
        DONE = "done"
        NOT_DONE = "not_done"
        IN_DOUBT = "in_doubt"

    class OnDoubt(models.TextChoices):
        HOLD = "hold"
        SKIP = "skip"
        REPEAT = "repeat"

    job = models.ForeignKey(Job, on_delete=models.CASCADE, db_constraint=False, related_name="effects")
    name = models.CharField(max_length=64)
    status = models.CharField(max_length=16, choices=Status)
    attempt = models.IntegerField(help_text="The attempt that reserved it last.")
    on_doubt = models.CharField(max_length=8, choices=OnDoubt, default=OnDoubt.HOLD)
    has_probe = models.BooleanField(default=False)
    is_transactional = models.BooleanField(default=False)
    reserved_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)
    result = DocumentField(null=True)
    error = models.TextField(null=True, help_text="Why it is in doubt or not done.")
    settled_by = models.CharField(max_length=150, null=True, help_text="Operator, 'probe', or 'policy'.")
    evidence = models.TextField(null=True)

    class Meta:
        ordering = ("id",)
        constraints = [
            models.UniqueConstraint(fields=["job", "name"], name="effect_once_per_job"),
            models.CheckConstraint(
                name="effect_status_known",
                condition=models.Q(status__in=["executing", "done", "not_done", "in_doubt"]),
            ),
        ]
        indexes = [
            # `effects list` and the admin: what waits for a person.
            models.Index(fields=["status", "id"], name="effect_open", condition=~models.Q(status="done"))
        ]
        permissions = [("settle_effect", "Can settle effects that are in doubt")]

    def __str__(self) -> str:
        return f"{self.name} of {self.job_id}"

    @property
    def key(self) -> str:
        """The same over all attempts: for providers that take idempotency keys."""
        return effect_key(self.job_id, self.name)


def effect_key(job_id: object, name: str) -> str:
    return f"{job_id}.{name}"
