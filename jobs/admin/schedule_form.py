"""The form of a schedule: what may be typed, and what of it makes no sense."""

from __future__ import annotations

import copy
import datetime as dt
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError

from jobs import registry, schedules
from jobs.conf import conf
from jobs.models import Schedule

if TYPE_CHECKING:
    _ScheduleModelForm = forms.ModelForm[Schedule]
else:
    _ScheduleModelForm = forms.ModelForm


class ScheduleForm(_ScheduleModelForm):
    """Explains what makes no sense, in the words of `schedules.validate`."""

    type = forms.ChoiceField()
    queue = forms.ChoiceField(required=False, help_text="Empty: the type's own queue.")

    class Meta:
        model = Schedule
        fields = (
            "name", "type", "payload", "queue", "cron", "time_zone", "every_s", "anchor", "starts_at", "ends_at", "enabled",
            "catch_up", "catch_up_window_s", "catch_up_max", "overlap", "pause_after_failures", "jitter_s",
        )  # fmt: skip
        labels = {
            "every_s": "Every … seconds",
            "catch_up_window_s": "Catch-up window in seconds",
            "catch_up_max": "Catch up at most",
            "jitter_s": "Jitter in seconds",
            "pause_after_failures": "Pause after failures in a row",
            "anchor": "A slot of the interval (UTC)",
            "starts_at": "Start (UTC)",
            "ends_at": "End (UTC)",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A page for people who may only look has no fields at all.
        self._offer("type", [job_type.name for job_type in registry.all_types()], self.instance.type)
        self._offer("queue", ["", *conf().queues], self.instance.queue)

        if "anchor" in self.fields:
            self.fields["anchor"].required = False

    def _offer(self, name: str, values: list[str], present: str) -> None:
        """What is known, and what stands in the row even if it is known no longer: saving then explains."""
        field = self.fields.get(name)
        if isinstance(field, forms.ChoiceField):
            known = values if present in values or not present else [*values, present]
            field.choices = [(value, value or "the type's own") for value in known]

    def clean_payload(self) -> Any:
        payload = self.cleaned_data["payload"]
        return {} if payload is None else payload

    def clean_anchor(self) -> Any:
        """Empty: as it is, or when the schedule was made. The page shows whole seconds, as slots are: to save what it
        shows is no change."""
        typed, present = self.cleaned_data["anchor"], self.instance.anchor
        is_as_shown = isinstance(present, dt.datetime) and typed == present.replace(microsecond=0)
        return present if typed is None or is_as_shown else typed

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        wanted = copy.copy(self.instance)
        for name, value in cleaned.items():
            setattr(wanted, name, value)
        try:
            schedules.validate(wanted)
        except ValidationError as error:
            for name, problems in error.message_dict.items():
                if name not in self.errors:  # Django's own message about the field says more
                    self.add_error(name if name in self.fields else None, problems)
        return cleaned
