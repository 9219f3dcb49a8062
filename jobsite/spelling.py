"""Names in the environment and in the settings file that are close to a setting of ours and are none.

A slip such as `DATABSE_URL` is silent otherwise: the default is taken. Names that begin with `JOBS_` are judged by
`jobs.checks`. A name is taken for a slip only where the setting that it resembles is not stated: platforms have names of
their own (`REDIS_URI` beside `REDIS_URL`). Values are never shown.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from django.apps.config import AppConfig
from django.core.checks import CheckMessage, Warning, register
from dotenv import dotenv_values

from jobs.checks import TAG
from jobs.conf import PREFIX, Conf
from jobsite.environment import Environment, env_file

LONG = 9
"""Names of so many letters may have two slips, shorter ones one."""


def known_names() -> set[str]:
    """Every name that the project reads."""
    ours = {name.upper() for name in Environment.model_fields if name != "stated_data_dir"}
    return ours | {PREFIX + name.upper() for name in Conf.model_fields} | {"ENV_FILE"}


def slips(stated: Iterable[str]) -> dict[str, str]:
    """By each name that is taken for a slip, the setting that it resembles."""
    names, known = {name.upper(): name for name in stated}, known_names()
    open_ones = sorted(known - names.keys())
    found = {}
    for upper, name in names.items():
        if upper in known or upper.startswith(PREFIX):
            continue
        close = [(slip_count(upper, one), one) for one in open_ones if abs(len(one) - len(upper)) <= 2]
        best = min(close, default=(LONG, ""))
        if best[0] <= (2 if len(best[1]) >= LONG else 1):
            found[name] = best[1]
    return found


def slip_count(one: str, other: str) -> int:
    """Letters too many, missing, wrong, or exchanged with their neighbour (the optimal string alignment distance)."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        row = [i]
        for j, b in enumerate(other, 1):
            row.append(min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (a != b)))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                row[j] = min(row[j], before[j - 2] + 1)
        before, last = last, row
    return last[-1]


@register(TAG)
def settings_are_spelt_right(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """W009: a name close to a setting that is not stated itself. What is empty is not stated."""
    stated = {**dotenv_values(env_file()), **os.environ}
    return [
        Warning(
            f"{name} is not a setting, and {meant} is not set.",
            hint=f"Did you mean {meant}? Rename it, or unset {name}.",
            id="jobs.W009",
        )
        for name, meant in sorted(slips(name for name, value in stated.items() if value).items())
    ]
