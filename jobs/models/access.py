"""ApiKey: who may call the API, as which client."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class ApiKey(models.Model):
    """A key's hash. The secret is random (256 bits), so one SHA-256 is enough; it is shown once."""

    prefix = models.CharField(max_length=16, unique=True, help_text="The readable part, to tell keys apart.")
    secret_hash = models.BinaryField(max_length=32)
    client = models.CharField(max_length=64)
    scopes = models.JSONField(default=list)
    is_unlimited = models.BooleanField(default=False, help_text="Exempt from the rate limit.")
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, help_text="To the minute.")

    class Meta:
        verbose_name = "API key"
        ordering = ("client", "-created_at")

    def __str__(self) -> str:
        return f"{self.client} ({self.prefix}…)"
