"""One job's page: everything that is known about it, from one query a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.core.exceptions import PermissionDenied
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobs import mirror, why
from jobs.admin import life, show
from jobs.admin.actions import Action, offered
from jobs.admin.settling import SettleForm, may_settle
from jobs.lifecycle import FINAL, MEANING, Status
from jobs.models import Effect, IdempotencyKey, Job, LogLine
from jobs.models import Event as EventRow

EVENTS_MOST = 500
LOG_LINES_MOST = 1_000
"""Rows of a table that the page shows: the latest ones, and it says so."""


@dataclass(frozen=True)
class ShownEffect:
    """An effect, and the form that settles it where it is in doubt and this user may."""

    effect: Effect
    form: SettleForm | None

    @property
    def badge(self) -> SafeString:
        return show.badge(self.effect.status)

    @property
    def result(self) -> SafeString | str:
        return show.json_block(self.effect.result)

    @property
    def error(self) -> SafeString | str:
        return show.text_block(self.effect.error)


def context(job: Job, user: AbstractBaseUser | AnonymousUser) -> dict[str, Any]:
    """What templates/admin/jobs/job/page.html shows."""
    events, has_more_events = _latest(EventRow.objects.filter(job=job), EVENTS_MOST)
    lines, has_more_lines = _latest(LogLine.objects.filter(job=job), LOG_LINES_MOST)
    effects = list(job.effects.all())
    status, now = Status(job.status), timezone.now()
    return {
        "job": job,
        "status_badge": show.badge(status),
        "meaning": MEANING[status],
        "actions": offered(job, user),
        "waiting": _waiting(job) if status not in FINAL else None,
        "progress": _progress(job),
        "facts": facts(job),
        "picture": life.picture(events, now),
        "attempts": life.attempts(events, now),
        "steps": life.steps(events),
        "has_more_events": has_more_events,
        "effects": [ShownEffect(effect, _settle_form(effect, user)) for effect in effects],
        "payload": show.json_block(job.payload),
        "result": show.json_block(job.result),
        "options": show.json_block(job.options),
        "error": show.text_block(job.error_message),
        "lines": lines,
        "has_more_lines": has_more_lines,
        "key": IdempotencyKey.objects.filter(job_id=job.pk).first() if job.key is not None else None,
    }


def _waiting(job: Job) -> dict[str, SafeString] | None:
    answer = why.waiting(job)
    return None if answer is None else {name: show.prose(answer[name]) for name in ("sentence", "nextStep")}


def _progress(job: Job) -> Any:
    """While an attempt runs its progress is in the mirror alone; it is stored with the outcome."""
    if job.status != Status.RUNNING:
        return job.progress
    found = mirror.read_status(job.pk)
    return job.progress if found is None else found[1]["progress"]


def facts(job: Job) -> list[tuple[str, Any]]:
    """The columns that are worth a line, with their names."""
    tags = ", ".join(sorted(tag.tag for tag in job.tags.all()))
    rows: list[tuple[str, Any]] = [
        ("Queue", job.queue),
        ("Attempt", attempt_words(job)),
        ("Client", job.client),
        ("Source", job.source),
        ("Created", show.moment(job.created_at)),
        ("Due", show.moment(job.run_after)),
        ("Queued", show.moment(job.queued_at)),
        ("Started", show.moment(job.started_at)),
        ("Finished", show.moment(job.finished_at)),
        ("Timeout", f"{job.timeout_s} s"),
        ("Worker", _worker(job)),
        ("Tags", tags),
        ("Callback", job.callback_url),
        ("Version", job.version),
    ]
    if job.cancel_requested_at is not None:
        rows.append(("Asked to stop", f"by {job.cancel_requested_by}, {show.ago(job.cancel_requested_at)}"))
    return [(name, value) for name, value in rows if value not in (None, "", show.NOTHING)]


def attempt_words(job: Job) -> str:
    """`2 (1 failure of 5)`, `3 (1 failure of 5, 1 crash of 3)`, `1`."""
    spent = [
        f"{count} {one if count == 1 else many} of {allowed}"
        for count, one, many, allowed in (
            (job.failures, "failure", "failures", job.failures_allowed),
            (job.crashes, "crash", "crashes", job.crashes_allowed),
        )
        if count
    ]
    return f"{job.attempt} ({', '.join(spent)})" if spent else str(job.attempt)


def denied(action: Action) -> PermissionDenied:
    return PermissionDenied(f"the permission {action.permission} is needed")


def _worker(job: Job) -> SafeString | None:
    lease = job.lease
    if job.status != Status.RUNNING or lease is None:
        return None
    return format_html(
        '<a href="{}">{}</a>, process {} on {}',
        reverse("admin:jobs_lease_change", args=[lease.pk]),
        lease.worker,
        lease.horse_pid or lease.parent_pid,
        lease.hostname,
    )


def _settle_form(effect: Effect, user: AbstractBaseUser | AnonymousUser) -> SettleForm | None:
    if effect.status != Effect.Status.IN_DOUBT or not may_settle(user):
        return None
    return SettleForm(auto_id=f"effect-{effect.pk}-%s")


def _latest(rows: Any, most: int) -> tuple[list[Any], bool]:
    """The latest rows in their order, and whether there are older ones."""
    found = list(rows.order_by("-pk")[: most + 1])
    return list(reversed(found[:most])), len(found) > most
