"""Effects: what happened in the world, what is in doubt, and the page where a person settles it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobs.admin import search, show
from jobs.admin.base import KeysetList, PagedAdmin
from jobs.admin.filters import EffectStatusFilter
from jobs.admin.settling import PERMISSIONS, SettleForm, may_settle, settle
from jobs.database import alias
from jobs.errors import JobsError
from jobs.models import Effect


def job_link(job_id: object, text: str = "") -> SafeString:
    return format_html('<a href="{}">{}</a>', reverse("admin:jobs_job_change", args=[job_id]), text or job_id)


@admin.register(Effect)
class EffectAdmin(PagedAdmin[Effect]):
    list_display = ("name", "shown_status", "shown_job", "on_doubt", "attempt", "shown_reserved", "settled_by")
    list_filter = (EffectStatusFilter, "on_doubt")
    search_fields = ("job__pk",)
    search_help_text = "The id of a job."
    sortable_by = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Effect]:
        return super().get_queryset(request).select_related("job").defer("job__payload", "job__result", "job__options")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetList]:
        return KeysetList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Effect], search_term: str
    ) -> tuple[QuerySet[Effect], bool]:
        if not search_term.strip():
            return queryset, False
        job_id = search.job_id(search_term)
        return (queryset.none() if job_id is None else queryset.filter(job_id=job_id)), False

    @admin.display(description="status")
    def shown_status(self, effect: Effect) -> SafeString:
        return show.badge(effect.status)

    @admin.display(description="job")
    def shown_job(self, effect: Effect) -> SafeString:
        return job_link(effect.job_id, str(effect.job))

    @admin.display(description="reserved")
    def shown_reserved(self, effect: Effect) -> SafeString | str:
        return show.moment(effect.reserved_at)

    def get_urls(self) -> list[URLPattern]:
        page = self.admin_site.admin_view(self.settle_view)
        page = transaction.non_atomic_requests(using=alias())(page)  # settling is a commit, also under ATOMIC_REQUESTS
        return [path("<int:effect_id>/settle/", page, name="jobs_effect_settle"), *super().get_urls()]

    def row_page(self, request: HttpRequest, effect: Effect) -> HttpResponse:
        return self._page(request, effect, SettleForm() if self._is_open_to(request, effect) else None)

    def settle_view(self, request: HttpRequest, effect_id: int) -> HttpResponse:
        """POST settles and goes on to the job; GET is the effect's page with the form."""
        self.require_view(request)
        effect = self.row_or_none(request, effect_id)
        if effect is None:
            return self.gone(request, str(effect_id))
        if not may_settle(request.user) or not isinstance(request.user, AbstractBaseUser):
            raise PermissionDenied(f"one of the permissions {' or '.join(PERMISSIONS)} is needed")
        if request.method != "POST":
            return HttpResponseRedirect(self.url("change", effect_id))
        form = SettleForm(request.POST)
        if not form.is_valid():
            return self._page(request, effect, form)
        try:
            self.message_user(request, settle(effect, form, request.user), messages.SUCCESS)
        except JobsError as error:  # somebody else was faster
            self.message_user(request, f"Nothing was changed: {error.message}.", messages.WARNING)
        return HttpResponseRedirect(reverse("admin:jobs_job_change", args=[effect.job_id]))

    def _is_open_to(self, request: HttpRequest, effect: Effect) -> bool:
        return effect.status == Effect.Status.IN_DOUBT and may_settle(request.user)

    def _page(self, request: HttpRequest, effect: Effect, form: SettleForm | None) -> HttpResponse:
        facts = [
            ("Status", show.badge(effect.status)),
            ("Job", job_link(effect.job_id, str(effect.job))),
            ("Key for the provider", format_html("<code>{}</code>", effect.key)),
            ("If in doubt", effect.get_on_doubt_display()),
            ("Asks a probe", "yes" if effect.has_probe else "no"),
            ("Transactional", "yes" if effect.is_transactional else "no"),
            ("Attempt", effect.attempt),
            ("Reserved", show.moment(effect.reserved_at)),
            ("Ended", show.moment(effect.ended_at)),
            ("Result", show.json_block(effect.result)),
            ("Why in doubt or not done", show.text_block(effect.error)),
            ("Settled by", effect.settled_by or show.NOTHING),
            ("Evidence", show.text_block(effect.evidence)),
        ]
        return self.page(request, "effect/page.html", f"Effect {effect.name}", effect=effect, facts=facts, form=form)
