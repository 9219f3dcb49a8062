"""What runs: workers by their leases, and queues with their depth and their brake."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.safestring import SafeString

from jobs import operate, queue_names
from jobs.admin import show
from jobs.admin.actions import record
from jobs.admin.base import PagedAdmin
from jobs.admin.filters import RevokedFilter
from jobs.conf import conf
from jobs.database import atomic
from jobs.errors import UnknownQueue
from jobs.lifecycle import Status
from jobs.models import Job, Lease, QueueState, count_workers, heard_leases

COUNT_MOST = 10_000
"""Counts stop here: a number on a page is not worth a scan of a backlog."""

PAUSE = "jobs.pause_queue"

CONSEQUENCES = {
    "pause": "No worker takes jobs from it until it is resumed. Jobs are still accepted into it, and what runs goes on.",
    "resume": "Workers take jobs from it again.",
}


def count_up_to(rows: QuerySet[Any], most: int = COUNT_MOST) -> tuple[int, bool]:
    """How many rows there are, and whether there are more than were counted."""
    found = rows.order_by()[: most + 1].values("pk").count()
    return min(found, most), found > most


@dataclass(frozen=True)
class Queue:
    """One queue as its page shows it."""

    name: str
    state: QueueState | None
    queued: int
    has_more: bool
    oldest_at: dt.datetime | None
    running: int
    workers: int

    @property
    def depth(self) -> str:
        return f"{show.number(self.queued)}{'+' if self.has_more else ''}"

    @property
    def oldest_wait(self) -> str:
        if self.oldest_at is None:
            return show.NOTHING
        return show.duration((timezone.now() - self.oldest_at).total_seconds())

    @property
    def is_listed(self) -> bool:
        return self.name in conf().queues

    @property
    def is_paused(self) -> bool:
        return self.state is not None and self.state.paused_at is not None


def queues() -> list[Queue]:
    """All queues, in order of urgency; two short queries each, besides five for all."""
    states = {state.name: state for state in QueueState.objects.all()}
    running = list(Job.objects.filter(status=Status.RUNNING).values_list("queue", flat=True)[:COUNT_MOST])
    leases = list(heard_leases(timezone.now()).only("worker", "queues"))
    found: list[Queue] = []
    for name in queue_names.holding_open():
        waiting = Job.objects.filter(queue=name, status=Status.QUEUED)
        oldest = waiting.order_by("queued_at").values_list("queued_at", flat=True).first()
        workers = count_workers(leases, name)
        found.append(Queue(name, states.get(name), *count_up_to(waiting), oldest, running.count(name), workers))
    return found


@admin.register(QueueState)
class QueueAdmin(PagedAdmin[QueueState]):
    """A queue without a row is not paused, so the list is made from the settings and the open jobs, not from the rows."""

    def get_urls(self) -> list[URLPattern]:
        page = self.admin_site.admin_view
        return [
            path("<str:name>/<slug:verb>/", page(self.brake_view), name="jobs_queuestate_brake"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        self.require_view(request)
        may_pause = request.user.has_perm(PAUSE)
        return self.page(
            request, "queuestate/page.html", "Queues", queues=queues(), may_pause=may_pause, first=conf().queues[0]
        )

    def row_page(self, request: HttpRequest, state: QueueState) -> HttpResponse:
        return HttpResponseRedirect(self.url("changelist"))

    def brake_view(self, request: HttpRequest, name: str, verb: str) -> HttpResponse:
        """GET asks, POST pauses or resumes."""
        self.require_view(request)
        if not request.user.has_perm(PAUSE) or not isinstance(request.user, AbstractBaseUser):
            raise PermissionDenied(f"the permission {PAUSE} is needed")
        if verb not in CONSEQUENCES or name not in queue_names.holding_open():
            return self.gone(request, name)
        if request.method != "POST":
            sentences = [CONSEQUENCES[verb]]
            back_url = self.url("changelist")
            return self.confirm(
                request, verb, back_url, title=f"{verb.capitalize()} the queue {name}?", sentences=sentences
            )
        try:
            self._brake(name, verb, request.user)
        except UnknownQueue as error:
            self.message_user(request, error.message, messages.ERROR)
        else:
            self.message_user(request, f"The queue {name} is {verb}d. {CONSEQUENCES[verb]}", messages.SUCCESS)
        return HttpResponseRedirect(self.url("changelist"))

    def _brake(self, name: str, verb: str, user: AbstractBaseUser) -> None:
        with atomic():
            turn = operate.pause_queue if verb == "pause" else operate.resume_queue
            turn(name, user.get_username())
            record(user, QueueState(pk=name), f"{verb}d", f"queue {name}")


@admin.register(Lease)
class WorkerAdmin(PagedAdmin[Lease]):
    list_display = ("worker", "kind", "shown_queues", "concurrency", "shown_process", "shown_state", "shown_renewed")
    list_filter = (RevokedFilter, "kind")
    sortable_by = ()

    def row_page(self, request: HttpRequest, lease: Lease) -> HttpResponse:
        running = Job.objects.filter(lease=lease, status=Status.RUNNING).order_by("started_at")
        facts = [
            ("State", self.shown_state(lease)),
            ("Kind", lease.get_kind_display()),
            ("Queues", self.shown_queues(lease)),
            ("Handler threads", lease.concurrency),
            ("Process", self.shown_process(lease)),
            ("Since", show.moment(lease.created_at)),
            ("Last renewed", show.moment(lease.renewed_at)),
            ("Beat", lease.beat),
            ("Lease", lease.pk),
            ("Revoked", show.moment(lease.revoked_at)),
            ("Revoked by", lease.revoked_by or show.NOTHING),
        ]
        rows = [(job, show.ago(job.started_at) if job.started_at else "") for job in running[: lease.concurrency * 2]]
        return self.page(request, "lease/page.html", f"Worker {lease.worker}", lease=lease, facts=facts, running=rows)

    @admin.display(description="queues")
    def shown_queues(self, lease: Lease) -> str:
        return ", ".join(map(str, lease.queues))

    @admin.display(description="process")
    def shown_process(self, lease: Lease) -> str:
        return f"{lease.horse_pid or lease.parent_pid} on {lease.hostname}"

    @admin.display(description="state")
    def shown_state(self, lease: Lease) -> SafeString:
        """Silent: not renewed for so long that housekeeping may take it for dead at any moment."""
        if lease.revoked_at:
            return show.badge("revoked")
        silent_s = (timezone.now() - lease.renewed_at).total_seconds()
        return show.badge("silent" if silent_s >= conf().lease_s else "live")

    @admin.display(description="last renewed")
    def shown_renewed(self, lease: Lease) -> str:
        return show.ago(lease.renewed_at)
