"""Idempotency keys: what each was first used for, and how often it was sent again."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from jobs.admin import search, show
from jobs.admin.base import KeysetList, ReadOnlyAdmin
from jobs.admin.effects import job_link
from jobs.admin.filters import ClientFilter
from jobs.models import IdempotencyKey, Job


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(ReadOnlyAdmin[IdempotencyKey]):
    list_display = ("key", "client", "shown_job", "shown_created", "replays", "shown_replayed")
    list_filter = (ClientFilter,)
    search_fields = ("key",)
    search_help_text = "A key or its beginning, or the id of a job."
    sortable_by = ()
    fields = (
        "key", "client", "shown_job", "shown_created", "replays", "shown_replayed", "algorithm", "shown_tombstone",
    )  # fmt: skip
    readonly_fields = fields

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetList]:
        return KeysetList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[IdempotencyKey], search_term: str
    ) -> tuple[QuerySet[IdempotencyKey], bool]:
        term = search_term.strip()
        return (queryset.filter(search.idempotency_key(term)) if term else queryset), False

    @admin.display(description="job")
    def shown_job(self, key: IdempotencyKey) -> SafeString:
        return job_link(key.job_id)

    @admin.display(description="first used")
    def shown_created(self, key: IdempotencyKey) -> SafeString | str:
        return show.moment(key.created_at)

    @admin.display(description="last replay")
    def shown_replayed(self, key: IdempotencyKey) -> SafeString | str:
        return show.moment(key.last_replayed_at)

    @admin.display(description="what is left of the pruned job")
    def shown_tombstone(self, key: IdempotencyKey) -> SafeString | str:
        if key.tombstone is None and not Job.objects.filter(pk=key.job_id).exists():
            return "The job's record is gone."
        return show.json_block(key.tombstone)
