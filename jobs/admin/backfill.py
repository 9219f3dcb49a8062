"""Back-filling a range of a schedule's slots: the form, the preview, and the record of who did it."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django import forms
from django.contrib.auth.models import AbstractBaseUser

from jobs import schedules
from jobs.admin.actions import record
from jobs.cron import slot_text
from jobs.models import Schedule
from jobs.schedules.running import Backfill

SHOWN = 20
"""Slots that the preview names: from the first and from the last."""


class BackfillForm(forms.Form):
    """A range in UTC, both ends included."""

    start = forms.DateTimeField(label="From (UTC)", help_text="Such as 2026-11-25 00:00.")
    end = forms.DateTimeField(label="To (UTC)", help_text="Not in the future: later slots come by themselves.")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        return {
            name: value.replace(tzinfo=dt.UTC) if isinstance(value, dt.datetime) else value
            for name, value in cleaned.items()
        }


def sentences(found: Backfill) -> list[str]:
    """What a back-fill would do."""
    known = f"{len(found.known)} slots have a job already and are left alone."
    if not found.new:
        return ["There is no slot without a job in that range.", known]
    texts = [slot_text(slot) for slot in found.new]
    named = texts if len(texts) <= SHOWN else [*texts[: SHOWN // 2], "…", *texts[-SHOWN // 2 :]]
    return [f"{len(found.new)} jobs will be created, whatever the policies say:", ", ".join(named), known]


def back_fill(schedule: Schedule, form: BackfillForm, user: AbstractBaseUser) -> str:
    """Do it; what was done. Raises InvalidSchedule, and what `submit` raises."""
    start, end = form.cleaned_data["start"], form.cleaned_data["end"]
    done = schedules.backfill(schedule.name, start, end, who=user.get_username())
    said = f"{len(done.new)} jobs of the slots from {slot_text(start)} to {slot_text(end)}"
    record(user, schedule, f"back-filled {said}", schedule.name)
    return f"{schedule.name}: created {said}."
