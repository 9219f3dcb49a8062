"""API keys: made, rotated and revoked by `api.keys`. A secret is shown once, in the answer that made it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AdminSplitDateTime
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.safestring import SafeString

from jobs.admin import show
from jobs.admin.actions import record
from jobs.admin.base import PagedAdmin
from jobs.admin.filters import RevokedFilter
from jobs.api import keys
from jobs.database import atomic
from jobs.models import ApiKey

CREATE, CHANGE = "jobs.add_apikey", "jobs.change_apikey"

VERBS = {
    "rotate": (
        "Rotate",
        "makes a second key for the same client with the same rights; the old one works for a day more",
    ),
    "revoke": ("Revoke", "the key stops working everywhere within seconds, for good"),
}


class NewKeyForm(forms.Form):
    client = forms.CharField(max_length=64, help_text="Jobs belong to it, and so do idempotency keys.")
    scopes = forms.MultipleChoiceField(
        choices=[(scope, f"{scope}: {meaning}") for scope, meaning in keys.SCOPES.items()],
        initial=list(keys.USUAL_SCOPES),
        widget=forms.CheckboxSelectMultiple,
    )
    expires_at = forms.SplitDateTimeField(
        required=False, widget=AdminSplitDateTime, label="Expires", help_text="UTC. Empty: never."
    )
    is_unlimited = forms.BooleanField(required=False, label="Exempt from the rate limit")


@admin.register(ApiKey)
class ApiKeyAdmin(PagedAdmin[ApiKey]):
    list_display = (
        "client", "prefix", "shown_state", "shown_scopes", "shown_created", "shown_expires", "shown_used", "is_unlimited",
    )  # fmt: skip
    list_filter = (RevokedFilter,)
    search_fields = ("client", "prefix")
    sortable_by = ("client",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(CREATE)

    @admin.display(description="state")
    def shown_state(self, key: ApiKey) -> SafeString:
        if key.revoked_at is not None:
            return show.badge("revoked")
        return show.badge("expired" if key.expires_at and key.expires_at <= timezone.now() else "live")

    @admin.display(description="scopes")
    def shown_scopes(self, key: ApiKey) -> str:
        return ", ".join(map(str, key.scopes))

    @admin.display(description="created")
    def shown_created(self, key: ApiKey) -> SafeString | str:
        return show.moment(key.created_at)

    @admin.display(description="expires")
    def shown_expires(self, key: ApiKey) -> SafeString | str:
        return show.moment(key.expires_at)

    @admin.display(description="last used")
    def shown_used(self, key: ApiKey) -> SafeString | str:
        return show.moment(key.last_used_at)

    def get_urls(self) -> list[URLPattern]:
        page = self.admin_site.admin_view
        return [path("<int:key_id>/do/<slug:verb>/", page(self.verb_view), name="jobs_apikey_do"), *super().get_urls()]

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        user = _require(request, CREATE)
        form = NewKeyForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                return self._create(request, form, user)
            except ValueError as error:
                form.add_error(None, str(error).capitalize())
        media = self.media + form.media
        return self.page(request, "apikey/new.html", "New API key", form=form, media=media)

    def _create(self, request: HttpRequest, form: NewKeyForm, user: AbstractBaseUser) -> HttpResponse:
        given = form.cleaned_data
        with atomic():
            key, text = keys.create(
                given["client"],
                given["scopes"],
                expires_at=given["expires_at"],
                is_unlimited=given["is_unlimited"],
            )
            record(user, key, f"created with the scopes {', '.join(key.scopes)}", str(key))
        return self._shown_once(request, key, text)

    def _shown_once(self, request: HttpRequest, key: ApiKey, text: str) -> HttpResponse:
        return self.page(request, "apikey/secret.html", f"The new key of {key.client}", key=key, secret=text)

    def row_page(self, request: HttpRequest, key: ApiKey) -> HttpResponse:
        facts = [
            ("Client", key.client),
            ("Begins with", f"jk_{key.prefix}_"),
            ("State", self.shown_state(key)),
            ("Scopes", self.shown_scopes(key)),
            ("Rate limit", "none" if key.is_unlimited else "as the settings say"),
            ("Created", show.moment(key.created_at)),
            ("Expires", show.moment(key.expires_at)),
            ("Last used", show.moment(key.last_used_at)),
            ("Revoked", show.moment(key.revoked_at)),
        ]
        may_change = key.revoked_at is None and request.user.has_perm(CHANGE)
        verbs = [(verb, label) for verb, (label, _) in VERBS.items()] if may_change else []
        return self.page(request, "apikey/page.html", f"API key of {key.client}", key=key, facts=facts, verbs=verbs)

    def verb_view(self, request: HttpRequest, key_id: int, verb: str) -> HttpResponse:
        """GET asks, POST does it; rotating answers with the new secret."""
        user = _require(request, CHANGE)
        key = self.row_or_none(request, key_id)
        if key is None or verb not in VERBS:
            return self.gone(request, str(key_id))
        if request.method != "POST":
            label, consequence = VERBS[verb]
            back_url, sentences = self.url("change", key_id), [f"{key.client}, jk_{key.prefix}_…: {consequence}."]
            return self.confirm(request, label, back_url, title=f"{label} this key?", sentences=sentences)
        return self._rotate(request, key, user) if verb == "rotate" else self._revoke(request, key, user)

    def _rotate(self, request: HttpRequest, key: ApiKey, user: AbstractBaseUser) -> HttpResponse:
        try:
            with atomic():
                new, text = keys.rotate(key)
                record(user, key, f"rotated; the new key is {new.prefix}", str(key))
                record(user, new, f"created by rotating {key.prefix}", str(new))
        except ValueError as error:
            self.message_user(request, str(error).capitalize(), messages.ERROR)
            return HttpResponseRedirect(self.url("change", key.pk))
        return self._shown_once(request, new, text)

    def _revoke(self, request: HttpRequest, key: ApiKey, user: AbstractBaseUser) -> HttpResponse:
        with atomic():
            keys.revoke(key)
            record(user, key, "revoked", str(key))
        self.message_user(request, f"The key {key.prefix} of {key.client} is revoked.", messages.SUCCESS)
        return HttpResponseRedirect(self.url("change", key.pk))


def _require(request: HttpRequest, permission: str) -> AbstractBaseUser:
    if not request.user.has_perm(permission) or not isinstance(request.user, AbstractBaseUser):
        raise PermissionDenied(f"the permission {permission} is needed")
    return request.user
