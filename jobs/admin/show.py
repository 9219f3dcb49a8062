"""How single values look: statuses, times, durations, JSON. All of it escaped, nothing inline."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from jobs.documents import isotime

NOTHING = "–"

CUT_CHARS = 2_000
CUT_LINES = 24
"""Texts beyond either are folded: the page shows their beginning, one click shows all."""


def badge(status: str, *, title: str = "") -> SafeString:
    """A status as a coloured word; the colour comes from the CSS class."""
    return format_html(
        '<span class="job-badge job-{}"{}>{}</span>',
        status,
        format_html(' title="{}"', title) if title else "",
        status.replace("_", " "),
    )


def moment(value: dt.datetime | None) -> SafeString | str:
    """A time to the second in UTC; the title has the milliseconds and how long ago it is."""
    if value is None:
        return NOTHING
    return format_html(
        '<time datetime="{}" title="{} ({})">{}</time>',
        isotime(value),
        isotime(value),
        ago(value),
        value.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S"),
    )


def ago(value: dt.datetime) -> str:
    passed_s = (timezone.now() - value).total_seconds()
    return f"in {duration(-passed_s)}" if passed_s < 0 else f"{duration(passed_s)} ago"


def duration(seconds: float | None) -> str:
    """Two units at most: `12 ms`, `3.4 s`, `5 min 10 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds is None:
        return NOTHING
    seconds = max(seconds, 0.0)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit_s, unit, part_s, part in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit_s:
            rest = whole % unit_s // part_s
            return f"{whole // unit_s} {unit}" + (f" {rest} {part}" if rest else "")
    return f"{whole} s"


def number(value: float | None) -> str:
    """A count with thin spaces between the thousands."""
    return NOTHING if value is None else f"{value:,}".replace(",", "\u2009")


def json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)


def json_block(value: Any) -> SafeString:
    """A JSON value, indented."""
    return text_block(None if value is None else json_text(value))


def text_block(text: str | None) -> SafeString:
    """Text as it is; where it is long, its beginning with a way to see all."""
    if not text:
        return format_html('<span class="job-nothing">{}</span>', NOTHING)
    beginning = "\n".join(text[:CUT_CHARS].split("\n")[:CUT_LINES])
    if beginning == text:
        return format_html('<pre class="job-text">{}</pre>', text)
    return format_html(
        '<pre class="job-text">{}…</pre><details class="job-all"><summary>Show all {} characters</summary>'
        '<pre class="job-text">{}</pre></details>',
        beginning,
        number(len(text)),
        text,
    )


def prose(sentence: str) -> SafeString:
    """A sentence in which `backticks` mark what is typed."""
    parts = enumerate(sentence.split("`"))
    shown = (format_html("<code>{}</code>", part) if index % 2 else part for index, part in parts)
    return format_html_join("", "{}", ((part,) for part in shown))
