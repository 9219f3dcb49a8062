"""Settling an effect in doubt: the form, the permission, and the record of who said so."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, PermissionsMixin

from jobs import operate
from jobs.admin.actions import record
from jobs.lifecycle import Event
from jobs.models import Effect, Job

PERMISSIONS = ("jobs.settle_effect", "jobs.settle_job")
"""Either of them: settling says what became of an effect, and by that moves its job."""


class OptionalJson(forms.JSONField):
    """Empty where there is no value, not `null`."""

    def prepare_value(self, value: Any) -> Any:
        return "" if value is None else super().prepare_value(value)


class SettleForm(forms.Form):
    """The verdict of a person who found out what happened."""

    verdict = forms.ChoiceField(
        choices=[("done", "It happened"), ("not_done", "It did not happen")], widget=forms.RadioSelect
    )
    result = OptionalJson(
        required=False,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="JSON that later attempts are given as the effect's result; only if it happened.",
    )
    evidence = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 2}),
        max_length=2_000,
        help_text="How you know: a message id, a line in the provider's log, a phone call.",
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("verdict") == "not_done" and cleaned.get("result") is not None:
            self.add_error("result", "What did not happen has no result.")
        return cleaned


def may_settle(user: AbstractBaseUser | AnonymousUser) -> bool:
    return isinstance(user, PermissionsMixin) and any(user.has_perm(permission) for permission in PERMISSIONS)


def settle(effect: Effect, form: SettleForm, user: AbstractBaseUser) -> str:
    """Record the verdict and say what became of the job. Raises EffectNotSettled, JobNotFound, EffectInTransaction."""
    is_done = form.cleaned_data["verdict"] == "done"
    verdict = "it happened" if is_done else "it did not happen"
    message = f"settled {effect.name}: {verdict}. {form.cleaned_data['evidence']}"

    def note() -> None:
        record(user, effect, message, str(effect))
        record(user, Job(pk=effect.job_id), message, f"job {effect.job_id}")

    event = operate.settle(
        effect.job_id,
        effect.name,
        is_done=is_done,
        result=form.cleaned_data["result"],
        evidence=form.cleaned_data["evidence"],
        who=user.get_username(),
        beside=note,
    )
    return f"Settled: {verdict}. {_CONSEQUENCE[event]}"


_CONSEQUENCE = {
    Event.SETTLE: "The job is queued and goes on.",
    Event.CANCEL: "The job is cancelled, as somebody had asked for.",
    None: "The job stays where it is.",
}
