"""Schedules: edited here as anywhere else through `jobs.schedules`, which validates and fences the ticks."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from jobs import schedules
from jobs.admin import backfill, schedule_show, show
from jobs.admin.base import Admin
from jobs.admin.effects import job_link
from jobs.admin.schedule_form import ScheduleForm
from jobs.admin.schedule_verbs import DO, PERMISSIONS, VERBS, pointless
from jobs.cron import BadCron
from jobs.documents import isotime
from jobs.errors import JobsError
from jobs.models import ClockStep, Schedule, clock

ALARM_SHOWN = dt.timedelta(days=1)


@admin.register(Schedule)
class ScheduleAdmin(Admin[Schedule]):
    form = ScheduleForm
    list_display = (
        "name", "type", "shown_when", "shown_state", "shown_next", "shown_recent", "shown_last_job", "overlap",
        "catch_up", "changed_by",
    )  # fmt: skip
    list_filter = ("enabled",)
    search_fields = ("name", "type")
    sortable_by = ("name", "type")
    actions = ("run_schedules", "pause_schedules", "resume_schedules")
    readonly_fields = (
        "shown_words", "shown_slots", "shown_recent", "shown_drift", "shown_last_job", "shown_dropped", "shown_origin",
        "paused_because", "buffered_slot", "last_note", "pointer", "version", "changed_by",
    )  # fmt: skip
    fieldsets = (
        (None, {"fields": ("name", "enabled", "type", "payload", "queue")}),
        ("When", {"fields": (("cron", "time_zone"), ("every_s", "anchor"), ("starts_at", "ends_at"), "jitter_s", "shown_words",
                             "shown_slots")}),
        ("Missed and overlapping slots", {"fields": (("catch_up", "catch_up_window_s", "catch_up_max"), "overlap",
                                                     "pause_after_failures")}),
        ("So far", {"fields": ("shown_recent", "shown_drift", "shown_last_job", "shown_dropped", "buffered_slot",
                               "last_note", "pointer", "paused_because", "shown_origin", "version", "changed_by")}),
    )  # fmt: skip

    def get_readonly_fields(self, request: HttpRequest, obj: Schedule | None = None) -> tuple[str, ...]:
        # The name is part of every slot's key: another name would be another schedule.
        return self.readonly_fields if obj is None else ("name", *self.readonly_fields)

    @admin.display(description="when")
    def shown_when(self, schedule: Schedule) -> str:
        return schedules.in_words(schedule)

    @admin.display(description="in words")
    def shown_words(self, schedule: Schedule) -> str:
        return show.NOTHING if schedule._state.adding else schedules.in_words(schedule)

    @admin.display(description="state")
    def shown_state(self, schedule: Schedule) -> SafeString:
        return show.badge("live" if schedule.enabled else "paused", title=schedule.paused_because)

    @admin.display(description="next")
    def shown_next(self, schedule: Schedule) -> SafeString | str:
        return next(iter(schedule_show.upcoming(schedule, 1)), show.NOTHING) if schedule.enabled else show.NOTHING

    @admin.display(description="next slots")
    def shown_slots(self, schedule: Schedule) -> SafeString | str:
        """In UTC, as the keys have them, and on the schedule's own clock."""
        if schedule._state.adding:
            return "Shown once it is saved."
        lines = [(line,) for line in schedule_show.upcoming(schedule, schedule_show.SLOTS_SHOWN)]
        return format_html_join("", '<div class="job-slot">{}</div>', lines) or show.NOTHING

    @admin.display(description="latest slots")
    def shown_recent(self, schedule: Schedule) -> SafeString | str:
        return schedule_show.sparkline(schedule, schedule_show.statuses_of([schedule]))

    @admin.display(description="late by")
    def shown_drift(self, schedule: Schedule) -> str:
        return schedule_show.drift(schedule)

    @admin.display(description="slots without a job")
    def shown_dropped(self, schedule: Schedule) -> SafeString | str:
        return show.NOTHING if schedule._state.adding else schedule_show.dropped(schedule)

    @admin.display(description="declared")
    def shown_origin(self, schedule: Schedule) -> str:
        if not schedule.is_declared:
            return "here"
        return "in code, overridden here" if schedule.is_overridden else "in code"

    @admin.display(description="last job")
    def shown_last_job(self, schedule: Schedule) -> SafeString | str:
        return job_link(schedule.last_job_id) if schedule.last_job_id else show.NOTHING

    def save_model(self, request: HttpRequest, obj: Schedule, form: Any, change: bool) -> None:
        schedules.store(obj, who=request.user.get_username())

    def has_delete_permission(self, request: HttpRequest, obj: Schedule | None = None) -> bool:
        # One that code declares would come back with the next scheduler: pause it instead.
        return (obj is None or not schedules.is_declared(obj)) and super().has_delete_permission(request, obj)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        allowed = super().get_actions(request)
        allowed.pop("delete_selected", None)  # would delete declared ones as well
        return {name: entry for name, entry in allowed.items() if self.may(request, name.partition("_")[0])}

    def may(self, request: HttpRequest, verb: str) -> bool:
        return bool(request.user.has_perm(PERMISSIONS[verb]))

    @admin.action(description="Run now")
    def run_schedules(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        self._do_all(request, "run", queryset)

    @admin.action(description="Pause")
    def pause_schedules(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        self._do_all(request, "pause", queryset)

    @admin.action(description="Resume")
    def resume_schedules(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        self._do_all(request, "resume", queryset)

    def get_urls(self) -> list[URLPattern]:
        page = self.admin_site.admin_view
        return [
            path("<int:schedule_id>/back-fill/", page(self.backfill_view), name="jobs_schedule_backfill"),
            path("<int:schedule_id>/do/<slug:verb>/", page(self.verb_view), name="jobs_schedule_do"),
            *super().get_urls(),
        ]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        schedule = self.row_or_none(request, object_id)
        verbs = [
            (verb, label)
            for verb, (label, _) in VERBS.items()
            if schedule is not None and self.may(request, verb) and verb not in pointless(schedule)
        ]
        more = {"verbs": verbs, "may_run": self.may(request, "run"), **(extra_context or {})}
        return super().change_view(request, object_id, form_url, more)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        step = ClockStep.objects.filter(at__gte=clock.now() - ALARM_SHOWN).first()
        if step is not None and request.method == "GET":
            sentence = f"A scheduler saw the database's clock step by {step.step_s:+.1f} s at {isotime(step.at)}."
            self.message_user(request, f"{sentence} Look after its time synchronisation.", messages.ERROR)
        return super().changelist_view(request, extra_context)

    def backfill_view(self, request: HttpRequest, schedule_id: int) -> HttpResponse:
        """GET shows the form, POST the preview or, where its button was pressed, the deed."""
        schedule = self.row_or_none(request, schedule_id)
        if schedule is None:
            return self.gone(request, str(schedule_id))
        if not self.has_view_permission(request, schedule) or not self.may(request, "run"):
            raise PermissionDenied(f"the permission {PERMISSIONS['run']} is needed")
        form = backfill.BackfillForm(request.POST or None)
        sentences: list[str] = []
        if form.is_valid() and isinstance(request.user, AbstractBaseUser):
            try:
                if "_do" in request.POST:
                    self.message_user(request, backfill.back_fill(schedule, form, request.user), messages.SUCCESS)
                    return HttpResponseRedirect(self.url("change", schedule_id))
                sentences = backfill.sentences(schedules.preview(schedule, **form.cleaned_data))
            except (JobsError, BadCron) as error:
                form.add_error(None, str(error))
        return self.page(
            request, "schedule/backfill.html", f"Back-fill: {schedule.name}",
            schedule=schedule, words=schedules.in_words(schedule), form=form, sentences=sentences,
            may_do=bool(sentences), back_url=self.url("change", schedule_id),
        )  # fmt: skip

    def verb_view(self, request: HttpRequest, schedule_id: int, verb: str) -> HttpResponse:
        """GET asks, POST does it."""
        schedule = self.row_or_none(request, schedule_id)
        if schedule is None or verb not in VERBS:
            return self.gone(request, str(schedule_id))
        if not self.has_view_permission(request, schedule) or not self.may(request, verb):
            raise PermissionDenied(f"the permission {PERMISSIONS[verb]} is needed")
        if request.method == "POST":
            self._do_all(request, verb, [schedule])
            return HttpResponseRedirect(self.url("change", schedule_id))
        label, consequence = VERBS[verb]
        return self.confirm(
            request,
            label,
            self.url("change", schedule_id),
            title=f"{label}: {schedule.name}?",
            sentences=[f"{schedule.name} ({schedule.type}) {consequence}."],
        )

    def _do_all(self, request: HttpRequest, verb: str, rows: QuerySet[Schedule] | list[Schedule]) -> None:
        if not self.may(request, verb) or not isinstance(request.user, AbstractBaseUser):
            raise PermissionDenied(f"the permission {PERMISSIONS[verb]} is needed")
        for schedule in rows:
            try:
                sentence = DO[verb](schedule, request.user)
            except JobsError as error:
                self.message_user(request, f"{schedule.name}: {error.message}", messages.ERROR)
            else:
                self.message_user(request, f"{schedule.name} {sentence}", messages.SUCCESS)
