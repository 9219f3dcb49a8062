"""What runs: leases of horses, paused queues, and the one row that housekeepers share."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from django.db import models
from django.db.models.functions import Now

from jobs.conf import conf


class Lease(models.Model):
    """One incarnation of a horse and its right to finish what it claimed.

    Renewing raises `beat`. Whoever takes the horse for dead sets `revoked_at` first and moves its jobs
    after; from then on nothing can be claimed under it.
    """

    class Kind(models.TextChoices):
        HORSE = "horse"
        STOCK = "stock", "stock RQ worker"

    id = models.UUIDField(primary_key=True, editable=False)
    kind = models.CharField(max_length=8, choices=Kind, default=Kind.HORSE)
    worker = models.CharField(max_length=150, help_text="The RQ worker's name.")
    queues = models.JSONField(default=list)
    concurrency = models.IntegerField(default=1)
    hostname = models.CharField(max_length=255)
    boot_id = models.CharField(max_length=64, help_text="Of the kernel; '' where there is none to read.")
    pid_namespace = models.CharField(max_length=64)
    parent_pid = models.IntegerField()
    parent_started = models.BigIntegerField(help_text="Start time of the process in clock ticks since boot.")
    horse_pid = models.IntegerField(null=True)
    horse_started = models.BigIntegerField(null=True)
    beat = models.BigIntegerField(default=1)
    created_at = models.DateTimeField(db_default=Now())
    renewed_at = models.DateTimeField(db_default=Now(), help_text="For people to read; nothing is decided from it.")
    revoked_at = models.DateTimeField(null=True)
    revoked_by = models.CharField(max_length=150, null=True)
    verdict = models.JSONField(
        null=True, help_text="Written with the revocation: what it means for the jobs that ran, whoever moves them."
    )

    class Meta:
        verbose_name = "worker"
        ordering = ("-created_at",)
        indexes = [models.Index(fields=["id"], name="lease_live", condition=models.Q(revoked_at__isnull=True))]

    def __str__(self) -> str:
        return f"{self.worker} ({self.id})"


def heard_leases(now: dt.datetime) -> models.QuerySet[Lease]:
    """Leases that were renewed lately. One that is silent longer may be revoked at any moment, if anybody is there to do it."""
    return Lease.objects.filter(revoked_at__isnull=True, renewed_at__gt=now - dt.timedelta(seconds=conf().lease_s))


def count_workers(leases: Iterable[Lease], queue: str | None = None) -> int:
    """Workers, each of which may have several horses, and so leases; of those who serve a queue, if it is given."""
    return len({lease.worker for lease in leases if queue is None or queue in lease.queues})


class QueueState(models.Model):
    """A queue somebody paused. A queue without a row is not paused."""

    name = models.CharField(max_length=64, primary_key=True)
    paused_at = models.DateTimeField(null=True)
    paused_by = models.CharField(max_length=150, default="")

    class Meta:
        verbose_name = "queue"
        permissions = [("pause_queue", "Can pause and resume queues")]

    def __str__(self) -> str:
        return self.name


class Housekeeping(models.Model):
    """A single row (id 1): who does the housekeeping, and what Redis has to keep up with."""

    holder = models.CharField(max_length=150, default="")
    expires_at = models.DateTimeField(null=True)
    asked_by = models.CharField(
        max_length=150,
        default="",
        db_default="",
        help_text="Who waits for the next turn, which others then leave to it.",
    )
    asked_until = models.DateTimeField(null=True)
    beat = models.BigIntegerField(default=0, help_text="Raised by each turn that follows one whose beat Redis took.")
    epoch = models.BigIntegerField(default=1, help_text="Raised when Redis lost something; all is pushed again then.")
    rebuilt_at = models.DateTimeField(null=True)
    mark = models.CharField(
        max_length=32, default="", db_default="", help_text="Random; tells this database from another one on one Redis."
    )
    restored_to = models.DateTimeField(
        null=True,
        help_text="The time of the backup from which this database was restored last, as far as it was noticed.",
    )

    class Meta:
        constraints = [models.CheckConstraint(name="housekeeping_single_row", condition=models.Q(id=1))]

    def __str__(self) -> str:
        return f"epoch {self.epoch}, beat {self.beat}"
