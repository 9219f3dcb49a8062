"""Schedules: edited here as anywhere else through `jobs.schedules`, which validates and fences the ticks."""

from __future__ import annotations

from collections.abc import Callable
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
from jobs.admin import show
from jobs.admin.actions import record
from jobs.admin.base import Admin
from jobs.admin.effects import job_link
from jobs.admin.schedule_form import ScheduleForm
from jobs.cron import BadCron, zone_of
from jobs.errors import JobsError
from jobs.models import Schedule

SLOTS_SHOWN = 5

PERMISSIONS = {"run": "jobs.run_schedule", "pause": "jobs.change_schedule", "resume": "jobs.change_schedule"}

VERBS = {
    "run": ("Run now", "creates a job at once, whatever the schedule's policies say"),
    "pause": ("Pause", "creates no more jobs until it is resumed"),
    "resume": ("Resume", "goes on from the present; slots of the pause are not made up for"),
}


@admin.register(Schedule)
class ScheduleAdmin(Admin[Schedule]):
    form = ScheduleForm
    list_display = (
        "name", "type", "shown_when", "shown_state", "shown_next", "shown_last_job", "overlap", "catch_up", "changed_by",
    )  # fmt: skip
    list_filter = ("enabled",)
    search_fields = ("name", "type")
    sortable_by = ("name", "type")
    actions = ("run_schedules", "pause_schedules", "resume_schedules")
    readonly_fields = ("shown_slots", "shown_last_job", "last_note", "is_declared", "pointer", "version", "changed_by")
    fieldsets = (
        (None, {"fields": ("name", "enabled", "type", "payload", "queue")}),
        ("When", {"fields": (("cron", "time_zone"), "every_s", "jitter_s", "shown_slots")}),
        ("Missed and overlapping slots", {"fields": (("catch_up", "catch_up_window_s", "catch_up_max"), "overlap")}),
        ("So far", {"fields": ("shown_last_job", "last_note", "pointer", "is_declared", "version", "changed_by")}),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Schedule | None = None) -> tuple[str, ...]:
        # The name is part of every slot's key: another name would be another schedule.
        return self.readonly_fields if obj is None else ("name", *self.readonly_fields)

    @admin.display(description="when")
    def shown_when(self, schedule: Schedule) -> str:
        if schedule.cron:
            return f"{schedule.cron} ({schedule.time_zone})"
        return f"every {show.duration(schedule.every_s)}"

    @admin.display(description="state")
    def shown_state(self, schedule: Schedule) -> SafeString:
        return show.badge("live" if schedule.enabled else "paused")

    @admin.display(description="next")
    def shown_next(self, schedule: Schedule) -> SafeString | str:
        slots = _upcoming(schedule, 1) if schedule.enabled else []
        return show.moment(slots[0]) if slots else show.NOTHING

    @admin.display(description="next slots")
    def shown_slots(self, schedule: Schedule) -> SafeString | str:
        """In UTC, as the keys have them, and on the schedule's own clock."""
        if schedule._state.adding:
            return "Shown once it is saved."
        slots = _upcoming(schedule, SLOTS_SHOWN)
        if not slots:
            return show.NOTHING
        zone = zone_of(schedule.time_zone)
        rows = [(show.moment(slot), slot.astimezone(zone).strftime("%a %d %b %H:%M:%S"), zone.key) for slot in slots]
        return format_html_join("", '<div class="job-slot">{} UTC, {} in {}</div>', rows)

    @admin.display(description="last job")
    def shown_last_job(self, schedule: Schedule) -> SafeString | str:
        return job_link(schedule.last_job_id) if schedule.last_job_id else show.NOTHING

    def save_model(self, request: HttpRequest, obj: Schedule, form: Any, change: bool) -> None:
        schedules.store(obj, who=request.user.get_username())

    def has_delete_permission(self, request: HttpRequest, obj: Schedule | None = None) -> bool:
        # One that code declares would come back with the next scheduler: pause it instead.
        return (obj is None or not obj.is_declared) and super().has_delete_permission(request, obj)

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
            if schedule is not None and self.may(request, verb) and verb != ("resume" if schedule.enabled else "pause")
        ]
        return super().change_view(request, object_id, form_url, {"verbs": verbs, **(extra_context or {})})

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
                sentence = _DO[verb](schedule, request.user)
            except JobsError as error:
                self.message_user(request, f"{schedule.name}: {error.message}", messages.ERROR)
            else:
                self.message_user(request, f"{schedule.name} {sentence}", messages.SUCCESS)


def _run(schedule: Schedule, user: AbstractBaseUser) -> str:
    submitted = schedules.run_now(schedule.name, who=user.get_username())
    record(user, schedule, f"run now: job {submitted.id}", schedule.name)
    return f"created the job {submitted.id}."


def _pause(schedule: Schedule, user: AbstractBaseUser) -> str:
    return _turn(schedule, user, schedules.pause, "paused")


def _resume(schedule: Schedule, user: AbstractBaseUser) -> str:
    return _turn(schedule, user, schedules.resume, "resumed")


def _turn(schedule: Schedule, user: AbstractBaseUser, turn: Callable[..., bool], word: str) -> str:
    if not turn(schedule.name, who=user.get_username()):
        return f"was {word} already."
    record(user, schedule, word, schedule.name)
    return f"is {word}."


_DO: dict[str, Callable[[Schedule, AbstractBaseUser], str]] = {"run": _run, "pause": _pause, "resume": _resume}


def _upcoming(schedule: Schedule, count: int) -> list[Any]:
    try:
        return schedules.upcoming(schedule, count)
    except BadCron:
        return []
