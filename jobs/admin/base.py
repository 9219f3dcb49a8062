"""What our admin pages share: their style sheet, read-only pages, and lists that never count.

Django's own change list counts its rows twice and pages by OFFSET; on a table of a million rows either
is slower than everything else on the page. A `KeysetList` fetches one row more than a page shows and
goes on from the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

M = TypeVar("M", bound=models.Model)

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin
else:

    class _ModelAdmin(admin.ModelAdmin, Generic[M]):
        """django-stubs knows ModelAdmin as a generic; at run time it is none."""


class Admin(_ModelAdmin[M]):
    """A ModelAdmin with our style sheet, and own pages in the frame of Django's."""

    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # facets are counts

    class Media:
        css: ClassVar[dict[str, tuple[str, ...]]] = {"all": ("jobs/admin.css",)}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return PlainList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Only what the filters offer. Django lets an address filter by any column, which would read
        whole tables, and would tell hashes apart letter by letter."""
        filters: Any = self.list_filter
        return lookup in {f"{one}__exact" if isinstance(one, str) else one.parameter_name for one in filters}

    def page(self, request: HttpRequest, template: str, title: str, **context: Any) -> TemplateResponse:
        """One of our templates, with what Django's admin templates need around it."""
        request.current_app = self.admin_site.name
        frame = {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media, "title": title}
        return TemplateResponse(request, f"admin/jobs/{template}", {**frame, **context})

    def confirm(
        self,
        request: HttpRequest,
        yes: str,
        back_url: str,
        *,
        title: str,
        sentences: Sequence[str],
        chosen: Sequence[models.Model] = (),
        hidden: Sequence[tuple[str, Any]] = (),
    ) -> TemplateResponse:
        """The question before anything is changed; its form posts to the same address."""
        return self.page(
            request,
            "confirm.html",
            title,
            yes=yes,
            back_url=back_url,
            sentences=sentences,
            chosen=chosen,
            hidden=hidden,
        )

    def url(self, view: str, *args: Any) -> str:
        """The address of one of this model's pages."""
        return reverse(f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_{view}", args=args)

    def rows(self, request: HttpRequest) -> models.QuerySet[M]:
        """What a page is made from; the list may leave columns out that the page needs."""
        return self.get_queryset(request)

    def row_or_none(self, request: HttpRequest, object_id: object) -> M | None:
        try:
            return self.rows(request).filter(pk=object_id).first()
        except (ValueError, ValidationError):
            return None

    def gone(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Back to the start with a message, as Django's admin does it: a link may outlive its row."""
        message = f"There is no {self.opts.verbose_name} “{object_id}”. It may have been pruned."
        self.message_user(request, message, messages.WARNING)
        return HttpResponseRedirect(reverse(f"{self.admin_site.name}:index"))


class ReadOnlyAdmin(Admin[M]):
    """Rows that the admin shows and never writes."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return False

    def require_view(self, request: HttpRequest, obj: M | None = None) -> None:
        if not self.has_view_permission(request, obj):
            raise PermissionDenied


class PagedAdmin(ReadOnlyAdmin[M]):
    """Rows that have a page of ours instead of Django's form."""

    def row_page(self, request: HttpRequest, row: M) -> HttpResponse:
        raise NotImplementedError

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        self.require_view(request)
        row = self.row_or_none(request, object_id)
        return self.gone(request, object_id) if row is None else self.row_page(request, row)


class PlainList(ChangeList):
    """Called by what it lists; Django's own title asks people to select something."""

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        name = str(self.opts.verbose_name_plural)
        self.title = name[:1].upper() + name[1:]


class KeysetList(PlainList):
    """A change list in order of falling primary key, paged by it; `before` and `after` are its cursors."""

    BEFORE = "before"
    AFTER = "after"

    is_keyset = True
    newer_url: str | None = None
    older_url: str | None = None

    def get_filters_params(self, params: dict[str, Any] | None = None) -> dict[str, Any]:
        found: dict[str, Any] = super().get_filters_params(params)
        return {name: value for name, value in found.items() if name not in (self.BEFORE, self.AFTER)}

    def get_ordering(self, request: HttpRequest, queryset: Any) -> list[Any]:
        return ["-pk"]

    def get_results(self, request: HttpRequest) -> None:
        self._forget_cursors()
        rows, is_upwards = self._page(request)
        has_more = len(rows) > self.list_per_page
        rows = rows[: self.list_per_page]
        if is_upwards:
            rows.reverse()
        self.result_list = rows
        # No "select all N": an action takes the rows that are on the page.
        self.result_count = len(rows)
        self.full_result_count = None
        self.show_all = self.can_show_all = self.multi_page = False
        self.show_admin_actions = bool(rows)
        self.paginator = self.model_admin.get_paginator(request, self.queryset.none(), self.list_per_page)
        self._link(request, rows, has_more=has_more, is_upwards=is_upwards)

    def _forget_cursors(self) -> None:
        """Filters and searches begin on the first page."""
        for name in (self.BEFORE, self.AFTER):
            self.params.pop(name, None)
            self.filter_params.pop(name, None)

    def _page(self, request: HttpRequest) -> tuple[list[Any], bool]:
        """One row more than a page shows, and whether they were read upwards."""
        limit = self.list_per_page + 1
        before, after = request.GET.get(self.BEFORE), request.GET.get(self.AFTER)
        try:
            if after:
                return list(self.queryset.filter(pk__gt=after).order_by("pk")[:limit]), True
            if before:
                return list(self.queryset.filter(pk__lt=before)[:limit]), False
        except (ValueError, ValidationError):
            pass  # a cursor that is none: the first page
        return list(self.queryset[:limit]), False

    def _link(self, request: HttpRequest, rows: list[Any], *, has_more: bool, is_upwards: bool) -> None:
        if not rows:
            return
        if has_more if is_upwards else (request.GET.get(self.BEFORE) is not None):
            self.newer_url = self.get_query_string({self.AFTER: rows[0].pk})
        if has_more or is_upwards:
            self.older_url = self.get_query_string({self.BEFORE: rows[-1].pk})
