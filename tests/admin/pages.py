"""What a browser would see of a page: its text, and whether anything in it would need 'unsafe-inline'."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from django.contrib.auth.models import Permission, User
from django.test import Client


class _Scan(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.inline: list[str] = []
        self.words: list[str] = []
        self.links: list[str] = []
        self._inside: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._inside = tag
        if tag == "style" or (tag == "script" and not given.get("src")):
            self.inline.append(f"<{tag}>")
        for name, value in given.items():
            if name == "style" or name.startswith("on") or (value or "").strip().lower().startswith("javascript:"):
                self.inline.append(f"<{tag} {name}={value!r}>")
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.words.append(data.strip())


def scan(html: str) -> _Scan:
    found = _Scan()
    found.feed(html)
    return found


def inline_parts(html: str) -> list[str]:
    """Everything that a Content-Security-Policy of `default-src 'self'` would refuse to run."""
    return scan(html).inline


def text(response: Any) -> str:
    return " ".join(scan(response.content.decode()).words)


def links(response: Any) -> list[str]:
    return scan(response.content.decode()).links


def messages_of(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def log_in(name: str, *permissions: str) -> Client:
    """A browser of a member of staff with these permissions (`jobs.view_job`) and no others."""
    user = User.objects.create_user(name, password="password", is_staff=True)
    for permission in permissions:
        app, codename = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    browser = Client()
    browser.force_login(user)
    return browser


def job_url(job: Any, rest: str = "change/") -> str:
    return f"/admin/jobs/job/{job.pk}/{rest}"
