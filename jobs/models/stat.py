"""MinuteStat: what ended in one minute, added up by the horses in the commit of the outcomes."""

from __future__ import annotations

from django.db import models

BUCKETS_MS = (5, 10, 50, 100, 500, 1_000, 5_000, 30_000, 300_000)
"""Upper bounds of the histogram's buckets in milliseconds; a tenth bucket takes the rest."""


class MinuteStat(models.Model):
    minute = models.DateTimeField()
    queue = models.CharField(max_length=64)
    type = models.CharField(max_length=100)
    outcome = models.CharField(max_length=16, help_text="The event that ended the attempt.")
    worker = models.CharField(max_length=150)
    count = models.BigIntegerField(default=0)
    wait_ms = models.BigIntegerField(default=0, help_text="Sum of the times from due to start.")
    run_ms = models.BigIntegerField(default=0, help_text="Sum of the times from start to end.")
    wait_0 = models.IntegerField(default=0)
    wait_1 = models.IntegerField(default=0)
    wait_2 = models.IntegerField(default=0)
    wait_3 = models.IntegerField(default=0)
    wait_4 = models.IntegerField(default=0)
    wait_5 = models.IntegerField(default=0)
    wait_6 = models.IntegerField(default=0)
    wait_7 = models.IntegerField(default=0)
    wait_8 = models.IntegerField(default=0)
    wait_9 = models.IntegerField(default=0)
    run_0 = models.IntegerField(default=0)
    run_1 = models.IntegerField(default=0)
    run_2 = models.IntegerField(default=0)
    run_3 = models.IntegerField(default=0)
    run_4 = models.IntegerField(default=0)
    run_5 = models.IntegerField(default=0)
    run_6 = models.IntegerField(default=0)
    run_7 = models.IntegerField(default=0)
    run_8 = models.IntegerField(default=0)
    run_9 = models.IntegerField(default=0)

    class Meta:
        verbose_name = "minute of statistics"
        verbose_name_plural = "overview"  # the admin shows these rows as its overview page
        ordering = ("-minute",)
        constraints = [
            models.UniqueConstraint(fields=["minute", "queue", "type", "outcome", "worker"], name="minutestat_once")
        ]

    def __str__(self) -> str:
        return f"{self.minute:%Y-%m-%d %H:%M} {self.type} {self.outcome}"
