"""Jobs: the list, and what may be done to the rows picked from it. One job's page is in `job_page.py`."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.models import AbstractBaseUser
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobs.admin import job_page, search, show
from jobs.admin.actions import ACTIONS, Action, Outcome, act, may
from jobs.admin.base import KeysetList, PagedAdmin
from jobs.admin.filters import ClientFilter, CreatedFilter, QueueFilter, SourceFilter, StatusFilter, TypeFilter
from jobs.lifecycle import MEANING, Status
from jobs.models import Job

BULK_MOST = 500
"""Jobs that one bulk action takes: each is a commit of its own, and the page waits for all of them."""

OUTCOMES_SHOWN = 5
"""Sentences of single jobs above the list after a bulk action; the rest is summed up."""


@admin.register(Job)
class JobAdmin(PagedAdmin[Job]):
    list_display = (
        "shown_id", "shown_status", "type", "queue", "shown_attempt", "shown_wait", "shown_run", "shown_created",
        "client", "shown_key",
    )  # fmt: skip
    list_display_links = ("shown_id",)
    list_filter = (StatusFilter, TypeFilter, QueueFilter, ClientFilter, SourceFilter, CreatedFilter)
    search_fields = ("pk",)  # shows the box; what it means is in get_search_results
    search_help_text = search.HELP
    sortable_by = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        return super().get_queryset(request).defer("payload", "result", "options", "error_message")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetList]:
        return KeysetList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Job], search_term: str
    ) -> tuple[QuerySet[Job], bool]:
        return (queryset.filter(search.meaning(search_term)) if search_term.strip() else queryset), False

    # --- columns ---

    @admin.display(description="job")
    def shown_id(self, job: Job) -> str:
        text = str(job.pk)
        return f"{text[:8]}…{text[-6:]}"

    @admin.display(description="status")
    def shown_status(self, job: Job) -> SafeString:
        if job.status == Status.RUNNING and job.cancel_requested_at is not None:
            return format_html("{} asked to stop", show.badge(job.status, title=MEANING[Status.RUNNING]))
        return show.badge(job.status, title=MEANING[Status(job.status)])

    @admin.display(description="attempt")
    def shown_attempt(self, job: Job) -> str:
        return job_page.attempt_words(job)

    @admin.display(description="waited")
    def shown_wait(self, job: Job) -> str:
        return show.duration(wait_s(job, timezone.now()))

    @admin.display(description="ran")
    def shown_run(self, job: Job) -> str:
        return show.duration(run_s(job, timezone.now()))

    @admin.display(description="created")
    def shown_created(self, job: Job) -> SafeString | str:
        return show.moment(job.created_at)

    @admin.display(description="key")
    def shown_key(self, job: Job) -> str:
        return show.NOTHING if job.key is None else (job.key if len(job.key) <= 40 else f"{job.key[:38]}…")

    # --- pages and actions ---

    def get_urls(self) -> list[URLPattern]:
        page = self.admin_site.admin_view
        return [
            path("<uuid:job_id>/do/<slug:name>/", page(self.action_view), name="jobs_job_action"),
            *super().get_urls(),
        ]

    def rows(self, request: HttpRequest) -> QuerySet[Job]:
        return Job.objects.select_related("lease")

    def row_page(self, request: HttpRequest, job: Job) -> HttpResponse:
        return self.page(request, "job/page.html", job.type, **job_page.context(job, request.user))

    def action_view(self, request: HttpRequest, job_id: uuid.UUID, name: str) -> HttpResponse:
        """GET asks for confirmation, POST does it."""
        self.require_view(request)
        action = ACTIONS.get(name)
        job = self.row_or_none(request, job_id)
        if job is None or action is None:
            return self.gone(request, str(job_id))
        self.require_action(request, action)
        back = self.url("change", job_id)
        if request.method == "POST":
            self._tell(request, [act(action, job_id, _operator(request))])
            return HttpResponseRedirect(back)
        sentences = action.consequences([job.status]) or [
            "Its present status does not allow that: nothing would change."
        ]
        return self.confirm(request, action.label, back, title=f"{action.ask}?", sentences=sentences, chosen=[job])

    def require_action(self, request: HttpRequest, action: Action) -> None:
        if not may(request.user, action):
            raise job_page.denied(action)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return {
            f"{action.name}_jobs": (_bulk(action), f"{action.name}_jobs", f"{action.label} …")
            for action in ACTIONS.values()
            if may(request.user, action)
        }

    def bulk(self, request: HttpRequest, action: Action, queryset: QuerySet[Job]) -> HttpResponse | None:
        """Asks first, with the chosen rows; then one commit a job and one sentence about each."""
        self.require_action(request, action)
        jobs = list(queryset.order_by("-pk")[: BULK_MOST + 1])
        if len(jobs) > BULK_MOST:
            self.message_user(request, f"At most {BULK_MOST} jobs at a time; nothing was done.", messages.ERROR)
            return None
        if request.POST.get("confirmed"):
            self._tell(request, [act(action, job.pk, _operator(request)) for job in jobs])
            return None
        return self.confirm(
            request,
            action.label,
            request.get_full_path(),
            title=f"{action.ask}?",
            sentences=[
                *action.consequences(job.status for job in jobs),
                f"{len(jobs)} jobs. Those whose status does not allow it are left as they are.",
            ],
            chosen=jobs,
            hidden=[
                *((ACTION_CHECKBOX_NAME, job.pk) for job in jobs),
                ("action", f"{action.name}_jobs"),
                ("confirmed", "yes"),
            ],
        )

    def _tell(self, request: HttpRequest, outcomes: list[Outcome]) -> None:
        if len(outcomes) > 1:
            done = Counter(str(outcome.event).replace("_", " ") for outcome in outcomes if outcome.event is not None)
            parts = [f"{count} {event}" for event, count in done.items()]
            refused = sum(outcome.event is None for outcome in outcomes)
            summary = ", ".join([*parts, *([f"{refused} left as they were"] if refused else [])])
            self.message_user(request, f"{len(outcomes)} jobs: {summary}.", messages.INFO)
        for outcome in sorted(outcomes, key=lambda one: one.event is not None)[:OUTCOMES_SHOWN]:
            level = messages.WARNING if outcome.event is None else messages.SUCCESS
            self.message_user(request, outcome.sentence, level)


def _bulk(action: Action) -> Any:
    """A function as Django's list of actions wants it."""

    def run(model_admin: JobAdmin, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        return model_admin.bulk(request, action, queryset)

    return run


def _operator(request: HttpRequest) -> AbstractBaseUser:
    """The admin lets nobody else in; this says so to the type checker."""
    if not isinstance(request.user, AbstractBaseUser):
        raise TypeError("not logged in")
    return request.user


def wait_s(job: Job, now: dt.datetime) -> float | None:
    """Seconds from when the latest attempt was queued to its start, or until now."""
    if job.queued_at is None:
        return None
    if job.status == Status.QUEUED:
        return (now - job.queued_at).total_seconds()
    if job.started_at is None or job.started_at < job.queued_at:
        return None
    return (job.started_at - job.queued_at).total_seconds()


def run_s(job: Job, now: dt.datetime) -> float | None:
    """Seconds of the latest attempt, where the row tells: while it runs, and when it ended the job."""
    if job.started_at is None:
        return None
    if job.status == Status.RUNNING:
        return (now - job.started_at).total_seconds()
    if job.status in (Status.SUCCEEDED, Status.FAILED) and job.finished_at is not None:
        return (job.finished_at - job.started_at).total_seconds()
    return None
