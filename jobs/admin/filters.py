"""The filters beside the lists. Their choices come from what is known, never from a scan of the jobs."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from jobs import queue_names, registry
from jobs.admin.search import clients_of
from jobs.lifecycle import Status
from jobs.models import Effect, Job

CHOICES_MOST = 100
"""Clients that the filter lists; others are reached through the address (`?client=…`) or the search box."""

CLIENT_OF_SOURCE = {"schedule": "system:schedule", "callback": "system:callback"}
"""Sources whose jobs belong to one client: saying so lets an index find them."""


class ColumnFilter(admin.SimpleListFilter):
    """Rows whose column equals the choice. A value from the address that is no choice is shown as one."""

    column: str
    parameter_name: str

    def values(self) -> Iterable[str]:
        raise NotImplementedError

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        choices = list(self.values())
        chosen = request.GET.get(self.parameter_name)
        if chosen and chosen not in choices:
            choices.append(chosen)
        return [(value, value.replace("_", " ")) for value in choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{self.column: self.value()}) if self.value() else queryset


class StatusFilter(ColumnFilter):
    title = parameter_name = column = "status"

    def values(self) -> Iterable[str]:
        return [str(status) for status in Status]


class TypeFilter(ColumnFilter):
    title = parameter_name = column = "type"

    def values(self) -> Iterable[str]:
        return [job_type.name for job_type in registry.all_types()]


class QueueFilter(ColumnFilter):
    title = parameter_name = column = "queue"

    def values(self) -> Iterable[str]:
        return queue_names.known()


class ClientFilter(ColumnFilter):
    title = parameter_name = column = "client"

    def values(self) -> Iterable[str]:
        return clients_of(Job._meta.db_table, CHOICES_MOST)


class SourceFilter(ColumnFilter):
    title = parameter_name = column = "source"

    def values(self) -> Iterable[str]:
        return [str(source) for source in Job.Source]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        narrowed = super().queryset(request, queryset)
        client = CLIENT_OF_SOURCE.get(self.value() or "")
        return narrowed if client is None else narrowed.filter(client=client)


class EffectStatusFilter(ColumnFilter):
    title = parameter_name = column = "status"

    def values(self) -> Iterable[str]:
        return [str(status) for status in Effect.Status]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The index of those that are not done is searched only where that is said in its words."""
        narrowed = super().queryset(request, queryset)
        return narrowed if self.value() in (None, Effect.Status.DONE) else narrowed.exclude(status=Effect.Status.DONE)


class CreatedFilter(admin.SimpleListFilter):
    """By age. The ids sort by time of creation, so the primary key answers it."""

    title = parameter_name = "created"
    SPANS = (
        ("hour", "last hour", dt.timedelta(hours=1)),
        ("day", "last 24 hours", dt.timedelta(days=1)),
        ("week", "last 7 days", dt.timedelta(days=7)),
        ("month", "last 30 days", dt.timedelta(days=30)),
    )

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, label) for name, label, _ in self.SPANS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        for name, _, span in self.SPANS:
            if name == self.value():
                return queryset.filter(pk__gte=first_id_at(timezone.now() - span))
        return queryset


def first_id_at(moment: dt.datetime) -> uuid.UUID:
    """The smallest UUIDv7 of that millisecond (RFC 9562: the first 48 bits are Unix milliseconds)."""
    return uuid.UUID(int=int(moment.timestamp() * 1000) << 80)


class RevokedFilter(admin.SimpleListFilter):
    """Live leases or API keys; the revoked ones stay for a while, to be read."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("live", "live"), ("revoked", "revoked")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() is None:
            return queryset
        return queryset.filter(revoked_at__isnull=self.value() == "live")
